// The highest key of a run of a row, and of a row's runs.
#pragma once

#include "logits.cuh"

// No key of a logit is 0: the lowest is that of -inf.
constexpr uint64_t NOTHING = 0;

__device__ __forceinline__ uint64_t higher(uint64_t a, uint64_t b) { return a > b ? a : b; }

__device__ __forceinline__ uint64_t warp_highest(uint64_t x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x = higher(x, __shfl_xor_sync(0xffffffffu, x, offset));
    return x;
}

// Zeros of both signs are equal, and a NaN of any sign is above all.
__device__ __forceinline__ uint32_t rank(float logit) {
    if (isnan(logit)) return 0xffffffffu;
    return ordered(logit == 0.0f ? 0.0f : logit);
}

// Of the columns that this thread looks at.
template <int N> __device__ __forceinline__ uint64_t highest_of_run(const Logits& logits, const float* row, uint32_t run) {
    uint64_t highest = NOTHING;
    for_columns<N>(row, run * RUN, min((run + 1) * RUN, logits.tokens), [&](uint32_t column, float logit) {
        highest = higher(highest, key_of(rank(logit), column));
    });
    return highest;
}

// Of all threads of a block of any size up to 1024, for its first warp.
__device__ __forceinline__ uint64_t block_highest(uint64_t highest) {
    __shared__ uint64_t parts[32];
    highest = warp_highest(highest);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = highest;
    __syncthreads();
    if (threadIdx.x >= 32) return NOTHING;
    return warp_highest(threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : NOTHING);
}

// For one warp.
__device__ __forceinline__ uint64_t highest_of_runs(const uint64_t* runs, uint32_t count) {
    uint64_t highest = NOTHING;
    for (uint32_t run = threadIdx.x; run < count; run += 32) highest = higher(highest, runs[run]);
    return warp_highest(highest);
}
