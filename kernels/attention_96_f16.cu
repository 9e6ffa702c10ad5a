// Attention with head_dim 81 to 96 in f16: a file for each, since the driver compiles all of a file that is loaded.
#include "attention_export.cuh"

EXPORT_ATTENTION(96, f16)
EXPORT_TALL(96, f16)
