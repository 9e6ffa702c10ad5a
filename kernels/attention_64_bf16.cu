// Attention with head_dim up to 64 in bf16: a file for each, since the driver compiles all of a file that is loaded.
#include "attention_export.cuh"

EXPORT_ATTENTION(64, bf16)
EXPORT_TALL(64, bf16)
