// Reads `count` vectors of 16 bytes and keeps nothing: what memory gives at best.
// `out` is written only where the sum of all words a thread read has one value in 2^32, so that loads stay.
// Each thread has four loads on their way. Grid: as many blocks as are resident; block 512.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(512) read(const uint4* from, uint64_t count, uint32_t* out) {
    const uint64_t stride = static_cast<uint64_t>(gridDim.x) * blockDim.x;
    uint64_t i = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    uint32_t sum = 0;
    for (; i + 3 * stride < count; i += 4 * stride) {
        uint4 v[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = __ldg(from + i + j * stride);
#pragma unroll
        for (int j = 0; j < 4; ++j) sum += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    for (; i < count; i += stride) {
        const uint4 v = __ldg(from + i);
        sum += v.x ^ v.y ^ v.z ^ v.w;
    }
    if (sum == 0x9e3779b9u) *out = sum;
}

// Numbers in [-1, 1) that differ: products of zeros take less power than a model's, and run faster.
// Grid (count / 512), block 512.
template <typename T> __device__ __forceinline__ void fill(T* out, uint64_t count) {
    const uint64_t i = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    uint32_t bits = static_cast<uint32_t>(i) * 0x9e3779b9u;
    bits = (bits ^ bits >> 15) * 0x85ebca6bu;
    out[i] = narrow<T>(static_cast<int32_t>(bits ^ bits >> 13) * 0x1p-31f);
}

extern "C" __global__ void fill_f32(float* out, uint64_t count) { fill(out, count); }
extern "C" __global__ void fill_f16(f16* out, uint64_t count) { fill(out, count); }
extern "C" __global__ void fill_bf16(bf16* out, uint64_t count) { fill(out, count); }
