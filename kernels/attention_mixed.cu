// Attention over caches of another wide type than the activations, head_dim up to 256: right, not fast.
#include "attention_export.cuh"

EXPORT_ATTENTION_OF(256, f32, f16)
EXPORT_ATTENTION_OF(256, f32, bf16)
EXPORT_ATTENTION_OF(256, f16, f32)
EXPORT_ATTENTION_OF(256, f16, bf16)
EXPORT_ATTENTION_OF(256, bf16, f32)
EXPORT_ATTENTION_OF(256, bf16, f16)
