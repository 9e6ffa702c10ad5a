// Residual sum and root-mean-square norm (Zhang and Sennrich 2019): x += delta, out = x / sqrt(mean(x²) + eps) * weight.
//
// x, delta, out [rows, width], weight [width] f32; delta may be null, and x is then only read. The norm is of the sum
// before it is rounded into x, but for columns that are read again. One block a row, 32 to 512 threads; each takes N elements together: 16 bytes, or one
// element where rows do not start at multiples of 16 bytes (`_odd`).
// Moves x and delta once in, x and out once out, up to KEPT elements a thread; what is beyond them is read again.
#include "chain.cuh"
#include "norm.cuh"

template <int N, typename T>
__device__ __forceinline__ void add_norm(T* x, const T* delta, const float* weight, float eps, uint32_t width, T* out) {
    begin_next();
    if (threadIdx.x * N < width) bring_near(weight + threadIdx.x * N);
    await_front();
    const uint64_t start = static_cast<uint64_t>(blockIdx.x) * width;
    const auto more = [&](uint32_t column, float (&values)[N]) {
        if (delta == nullptr) return false;
        load(delta + start + column, values);
        return true;
    };
    norm_row<N>(x + start, more, weight, eps, width, out + start);
}

#define EXPORT_ADD_NORM(T)                                                                                          \
    extern "C" __global__ void __launch_bounds__(512)                                                               \
        add_norm_##T(T* x, const T* delta, const float* weight, float eps, uint32_t width, T* out) {                \
        add_norm<per_access<T>()>(x, delta, weight, eps, width, out);                                               \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(512, 1)                                                            \
        add_norm_odd_##T(T* x, const T* delta, const float* weight, float eps, uint32_t width, T* out) {            \
        add_norm<1>(x, delta, weight, eps, width, out);                                                             \
    }

EXPORT_ADD_NORM(f32)
EXPORT_ADD_NORM(f16)
EXPORT_ADD_NORM(bf16)
