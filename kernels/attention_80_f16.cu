// Attention with head_dim 65 to 80 in f16: a file for each, since the driver compiles all of a file that is loaded.
#include "attention_export.cuh"

EXPORT_ATTENTION(80, f16)
EXPORT_TALL(80, f16)
