// Attention over caches of another wide type than the activations, and with heads that are no whole number of 16-byte
// accesses, head_dim up to 256: right, not fast.
#include "attention_export.cuh"

EXPORT_ANY(f32, f32)
EXPORT_ANY(f32, f16)
EXPORT_ANY(f32, bf16)
EXPORT_ANY(f32, e4m3)
EXPORT_ANY(f16, f32)
EXPORT_ANY(f16, f16)
EXPORT_ANY(f16, bf16)
EXPORT_ANY(f16, e4m3)
EXPORT_ANY(bf16, f32)
EXPORT_ANY(bf16, f16)
EXPORT_ANY(bf16, bf16)
EXPORT_ANY(bf16, e4m3)
