// The attention kernels of one head_dim and type of activations by their names.
#pragma once

#include "attention_decode.cuh"
#include "attention_prefill.cuh"

using f32 = float;

#define EXPORT_ATTENTION_OF(DIM, T, C) \
    EXPORT_DECODE(DIM, T, C)           \
    EXPORT_PREFILL(DIM, T, C)

// With the caches that a model is run with: its own type, or e4m3.
#define EXPORT_ATTENTION(DIM, T)   \
    EXPORT_ATTENTION_OF(DIM, T, T) \
    EXPORT_ATTENTION_OF(DIM, T, e4m3)
