// Attention with head_dim up to 64 in f16: a file for each, since the driver compiles all of a file that is loaded.
#include "attention_export.cuh"

EXPORT_ATTENTION(64, f16)
EXPORT_TALL(64, f16)
