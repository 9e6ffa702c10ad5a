// The attention kernels of one head_dim by their names.
#pragma once

#include "attention_decode.cuh"
#include "attention_prefill.cuh"

using f32 = float;

#define EXPORT_ATTENTION_OF(DIM, T, C) \
    EXPORT_DECODE(DIM, T, C)           \
    EXPORT_PREFILL(DIM, T, C)

// With the caches that a model is run with: its own type, or e4m3.
#define EXPORT_ATTENTION(DIM)            \
    EXPORT_ATTENTION_OF(DIM, f32, f32)   \
    EXPORT_ATTENTION_OF(DIM, f32, e4m3)  \
    EXPORT_ATTENTION_OF(DIM, f16, f16)   \
    EXPORT_ATTENTION_OF(DIM, f16, e4m3)  \
    EXPORT_ATTENTION_OF(DIM, bf16, bf16) \
    EXPORT_ATTENTION_OF(DIM, bf16, e4m3)
