// Attention with head_dim 65 to 80 in f32: a file for each, since the driver compiles all of a file that is loaded.
#include "attention_export.cuh"

EXPORT_ATTENTION(80, f32)
