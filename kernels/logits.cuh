// What the kernels over rows of logits share: the questions, runs of a row, and keys that sort as the logits do.
//
// logits [rows, stride] f32, of which the first `tokens` columns count. A run is RUN columns: sums over a row are
// sums of its runs, whatever batch the row is in.
#pragma once

#include "access.cuh"

// As `RUN` of ops/cuda/sampling.
constexpr uint32_t RUN = 4096;

// What a row draws with, as ops/cuda/picks writes it.
struct Pick {
    // What the noise is multiplied with; 0: there is none.
    float temperature;
    uint32_t position;
    uint32_t seed[2];
    uint32_t stream[2];
};

// One question, as ops/cuda/sampling writes it.
struct Ask {
    uint32_t row;
    // Highest logits to list.
    uint32_t count;
    // Of the mass; 0: no mass is wanted.
    float temperature;
    // Whether the mass at temperature 1 is wanted.
    uint32_t at_one;
    // Where the answer goes, in words of 8 bytes.
    uint64_t answer;
    // Of the draw; no noise: none is wanted.
    Pick pick;
};

// The highest logit of a row, and its token.
struct Best {
    uint32_t token;
    float logit;
};

struct Logits {
    const float* at;
    uint64_t stride;
    uint32_t tokens;

    __device__ __forceinline__ const float* row(uint32_t row) const { return at + row * stride; }
};

// Accesses that a thread has on their way at once: one block alone must keep its multiprocessor busy.
constexpr int AT_ONCE = 4;

// Calls f(column, logit) for the columns begin..end, spread over the block. N is 4 where rows start at multiples of
// 16 bytes, else 1; `begin` is a multiple of it.
template <int N, typename F>
__device__ __forceinline__ void for_columns(const float* row, uint32_t begin, uint32_t end, F f) {
    const uint32_t stride = blockDim.x * N;
    for (uint32_t first = begin + threadIdx.x * N; first < end; first += AT_ONCE * stride) {
        float logits[AT_ONCE][N];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            const uint32_t column = first + k * stride;
            if (column + N <= end) {
                load(row + column, logits[k]);
            } else {
#pragma unroll
                for (int i = 0; i < N; ++i) logits[k][i] = column + i < end ? row[column + i] : 0.0f;
            }
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k)
#pragma unroll
            for (int i = 0; i < N; ++i) {
                const uint32_t column = first + k * stride + i;
                if (column < end) f(column, logits[k][i]);
            }
    }
}

// Unsigned numbers in the order of the floats' bits: -NaN, -inf, .., -0, 0, .., inf, NaN.
__device__ __forceinline__ uint32_t ordered(float x) {
    const uint32_t bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The higher logit has the higher key; among equals, the lower column.
__device__ __forceinline__ uint64_t key_of(uint32_t order, uint32_t column) {
    return static_cast<uint64_t>(order) << 32 | ~column;
}

__device__ __forceinline__ uint32_t column_of(uint64_t key) { return ~static_cast<uint32_t>(key); }

// exp((logit - peak) / temperature).
__device__ __forceinline__ float weight_of(float logit, float peak, float temperature) {
    return expf((logit - peak) / temperature);
}
