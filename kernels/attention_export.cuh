// The attention kernels of one head_dim and type of activations by their names.
#pragma once

#include "attention_decode.cuh"
#include "attention_prefill.cuh"

using f32 = float;

#define EXPORT_ATTENTION_OF(DIM, T, C)   \
    EXPORT_DECODE(DIM, DIM, T, C, false) \
    EXPORT_PREFILL(DIM, DIM, T, C, false, false)

// With the caches that a model is run with: its own type, or e4m3.
#define EXPORT_ATTENTION(DIM, T)   \
    EXPORT_ATTENTION_OF(DIM, T, T) \
    EXPORT_ATTENTION_OF(DIM, T, e4m3)

// Of heads that are narrow enough.
#define EXPORT_TALL(DIM, T)                              \
    EXPORT_PREFILL(tall_##DIM, DIM, T, T, true, false)   \
    EXPORT_PREFILL(tall_##DIM, DIM, T, e4m3, true, false)

// Over any cache, element by element.
#define EXPORT_ANY(T, C)                \
    EXPORT_DECODE(any, 256, T, C, true) \
    EXPORT_PREFILL(any, 256, T, C, false, true)
