// The gated activation, silu(gate) * up.
//
// gate_up [rows, 2 * width] (gate, then up), out [rows, width]. Each thread N elements together: 16 bytes, or one
// element where rows do not start at multiples of 16 bytes (`_odd`). Grid (rows, ceil(width / N / threads)).
// Moves gate and up once in, the product once out.
#include "access.cuh"

template <int N, typename T>
__device__ __forceinline__ void silu_mul(const T* gate_up, uint32_t width, T* out) {
    const uint32_t column = (blockIdx.y * blockDim.x + threadIdx.x) * N;
    if (column >= width) return;
    const T* row = gate_up + static_cast<uint64_t>(blockIdx.x) * 2 * width;
    float gate[N], up[N];
    load(row + column, gate);
    load(row + width + column, up);
#pragma unroll
    for (int i = 0; i < N; ++i) gate[i] = silu(gate[i]) * up[i];
    store(out + static_cast<uint64_t>(blockIdx.x) * width + column, gate);
}

#define EXPORT_SILU_MUL(T)                                                                                          \
    extern "C" __global__ void silu_mul_##T(const T* gate_up, uint32_t width, T* out) {                             \
        silu_mul<per_access<T>()>(gate_up, width, out);                                                             \
    }                                                                                                               \
    extern "C" __global__ void silu_mul_odd_##T(const T* gate_up, uint32_t width, T* out) {                         \
        silu_mul<1>(gate_up, width, out);                                                                           \
    }

EXPORT_SILU_MUL(f32)
EXPORT_SILU_MUL(f16)
EXPORT_SILU_MUL(bf16)
