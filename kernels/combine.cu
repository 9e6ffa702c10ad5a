// Between and after the products of experts, 8 or 4 elements a lane where rows allow, else one.
//
// gated    out[p] = silu(gate) * up of the grouped rows p < count: x [choices, 2 width] to out [choices, width].
//          Grid (choices, width / (256 N)), block 256.
// combine  out[i] = sum over the row's choices, in their order, of weight * y[i * top_k + choice], of those held here;
//          y [choices, width], out [rows, width]. Grid (rows, width / (256 N)), block 256.
// Bytes to move: what is read once and what is written once.
#include "common.cuh"

template <typename T, int N>
__device__ __forceinline__ void gated(const T* x, const uint32_t* count, T* out, uint32_t width) {
    using V = Vector<T, N>;
    const uint32_t column = (blockIdx.y * blockDim.x + threadIdx.x) * N;
    if (blockIdx.x >= *count || column >= width) return;
    x += static_cast<size_t>(blockIdx.x) * 2 * width + column;
    const V gate = *reinterpret_cast<const V*>(x), up = *reinterpret_cast<const V*>(x + width);
    V result;
#pragma unroll
    for (int i = 0; i < N; ++i) {
        const float g = widen(gate.at[i]);
        result.at[i] = narrow<T>(g / (1.0f + expf(-g)) * widen(up.at[i]));
    }
    *reinterpret_cast<V*>(out + static_cast<size_t>(blockIdx.x) * width + column) = result;
}

template <typename T, int N>
__device__ __forceinline__ void combine(const T* y, const uint32_t* experts, const float* weights, T* out,
                                        uint32_t width, uint32_t top_k, uint32_t first, uint32_t held) {
    using V = Vector<T, N>;
    const uint32_t column = (blockIdx.y * blockDim.x + threadIdx.x) * N;
    if (column >= width) return;
    const size_t row = blockIdx.x;
    float sums[N] = {};
    for (uint32_t choice = 0; choice < top_k; ++choice) {
        const size_t from = row * top_k + choice;
        if (experts[from] - first >= held) continue;
        const float weight = weights[from];
        const V part = *reinterpret_cast<const V*>(y + from * width + column);
#pragma unroll
        for (int i = 0; i < N; ++i) sums[i] += weight * widen(part.at[i]);
    }
    V result;
#pragma unroll
    for (int i = 0; i < N; ++i) result.at[i] = narrow<T>(sums[i]);
    *reinterpret_cast<V*>(out + row * width + column) = result;
}

#define EXPORT_BOTH(suffix, T, N)                                                                               \
    extern "C" __global__ void gated_##suffix(const T* x, const uint32_t* count, T* out, uint32_t width) {      \
        gated<T, N>(x, count, out, width);                                                                      \
    }                                                                                                           \
    extern "C" __global__ void combine_##suffix(const T* y, const uint32_t* experts, const float* weights,      \
                                                T* out, uint32_t width, uint32_t top_k, uint32_t first,         \
                                                uint32_t held) {                                                \
        combine<T, N>(y, experts, weights, out, width, top_k, first, held);                                     \
    }
EXPORT_BOTH(f32, float, 4)
EXPORT_BOTH(f16, f16, 8)
EXPORT_BOTH(bf16, bf16, 8)
EXPORT_BOTH(odd_f32, float, 1)
EXPORT_BOTH(odd_f16, f16, 1)
EXPORT_BOTH(odd_bf16, bf16, 1)
