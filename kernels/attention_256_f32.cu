// Attention with head_dim 129 to 256 in f32: a file for each, since the driver compiles all of a file that is loaded.
#include "attention_export.cuh"

EXPORT_ATTENTION(256, f32)
