// A row's experts: softmax over all scores, the `top_k` of highest weight, the lower index first among equals.
//
//   scores   f32 [rows, num_experts]
//   experts  u32 [rows, top_k], weights f32 [rows, top_k], load u32 [num_experts] (added to)
//   slots    u32 [rows] or null: a row of slot 0 fills up a graph, stands for nothing and adds to no load
//
// One warp a row; dynamic shared memory holds its weights, 4 * num_experts bytes a warp. A weight and its index make
// one number of 64 bits, larger for higher weights and then for lower indices: no two are equal, so the next choice
// is the largest below the last. A NaN is larger than all weights: it is chosen, and ends nowhere else.
// Grid (rows / warps), block 32 * warps.
#include "common.cuh"

__device__ __forceinline__ unsigned long long warp_highest(unsigned long long x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        const unsigned long long other = __shfl_xor_sync(0xffffffffu, x, offset);
        x = other > x ? other : x;
    }
    return x;
}

extern "C" __global__ void route(const float* scores, uint32_t* experts, float* weights, uint32_t* load,
                                 const uint32_t* slots, uint32_t rows,
                                 uint32_t num_experts, uint32_t top_k, uint32_t normalize) {
    extern __shared__ float room[];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t row = blockIdx.x * (blockDim.x / 32) + warp;
    if (row >= rows) return;
    float* const mass = room + warp * num_experts;
    scores += static_cast<size_t>(row) * num_experts;
    float peak = -INFINITY;
    for (uint32_t e = lane; e < num_experts; e += 32) peak = fmaxf(peak, scores[e]);
    peak = warp_max(peak);
    float sum = 0.0f;
    for (uint32_t e = lane; e < num_experts; e += 32) sum += mass[e] = expf(scores[e] - peak);
    sum = warp_sum(sum);
    for (uint32_t e = lane; e < num_experts; e += 32) mass[e] /= sum;
    // Each lane reads what it wrote: no barrier is needed.
    unsigned long long last = ~0ull;
    float chosen = 0.0f;
    for (uint32_t choice = 0; choice < top_k; ++choice) {
        unsigned long long best = 0;
        for (uint32_t e = lane; e < num_experts; e += 32) {
            // The sign of a NaN may be set.
            const unsigned long long size = __float_as_uint(mass[e]) & 0x7fffffffu;
            const unsigned long long key = size << 32 | (~e & 0xffffffffull);
            if (key < last && key > best) best = key;
        }
        last = warp_highest(best);
        const float weight = __uint_as_float(static_cast<uint32_t>(last >> 32));
        chosen += weight;
        if (lane == 0) {
            const uint32_t expert = ~static_cast<uint32_t>(last);
            experts[static_cast<size_t>(row) * top_k + choice] = expert;
            weights[static_cast<size_t>(row) * top_k + choice] = weight;
            if (slots == nullptr || slots[row] != 0) atomicAdd(&load[expert], 1u);
        }
    }
    if (!normalize) return;
    __syncwarp();
    for (uint32_t choice = lane; choice < top_k; choice += 32) weights[static_cast<size_t>(row) * top_k + choice] /= chosen;
}
