// What all kernels share: element types and their widening, vectors of 16 bytes, reductions.
//
// Arithmetic is f32 whatever the storage. One function is instantiated for each element type and exported under
// the name `kernel_type`, since PTX has no overloads: see EXPORT_* beside each kernel.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

using bf16 = __nv_bfloat16;
using f16 = __half;
using e4m3 = __nv_fp8_e4m3;

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float widen(f16 x) { return __half2float(x); }
__device__ __forceinline__ float widen(e4m3 x) { return static_cast<float>(x); }

// Nearest, ties to even; e4m3 saturates.
template <typename T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ f16 narrow<f16>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ e4m3 narrow<e4m3>(float x) { return e4m3(x); }

// N elements that move as one access of at most 16 bytes.
template <typename T, int N> struct alignas(sizeof(T) * N) Vector { T at[N]; };

// Elements of one 16-byte access.
template <typename T> __host__ __device__ constexpr int per_access() { return 16 / static_cast<int>(sizeof(T)); }

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
    return x;
}

// x times its sigmoid. e^-|x| never overflows: the sigmoid is 1 / (1 + e) on one side of 0 and e / (1 + e) on the other.
__device__ __forceinline__ float silu(float x) {
    const float e = expf(-fabsf(x));
    return x * ((x < 0.0f ? e : 1.0f) / (1.0f + e));
}

// Sum over the block, on every thread; `parts` is shared, one float a warp. Ends with a barrier before `parts` may
// be used again.
__device__ __forceinline__ float block_sum(float x, float* parts) {
    x = warp_sum(x);
    const int warps = (blockDim.x + 31) / 32;
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    float total = 0.0f;
    for (int i = 0; i < warps; ++i) total += parts[i];
    __syncthreads();
    return total;
}
