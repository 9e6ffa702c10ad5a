// Attention with head_dim 97 to 128 in f16: a file for each, since the driver compiles all of a file that is loaded.
#include "attention_export.cuh"

EXPORT_ATTENTION(128, f16)
EXPORT_TALL(128, f16)
