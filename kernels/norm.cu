// Residual sum and root-mean-square norm (Zhang and Sennrich 2019): x += delta, out = x / sqrt(mean(x²) + eps) * weight.
//
// x, delta, out [rows, width], weight [width] f32; delta may be null, and x is then only read. The norm is of the sum
// before it is rounded into x, but for columns that are read again. One block a row, 32 to 512 threads; each takes N elements together: 16 bytes, or one
// element where rows do not start at multiples of 16 bytes (`_odd`).
// Moves x and delta once in, x and out once out, up to KEPT elements a thread; what is beyond them is read again.
#include "access.cuh"

// Elements of x that a thread holds between the sum of squares and the product: 8192 of a row for 512 threads.
constexpr int KEPT = 16;

// N elements of the sum at `column`, rounded as x holds them.
template <int N, typename T>
__device__ __forceinline__ void add(T* x, const T* delta, uint32_t column, float (&sum)[N]) {
    load(x + column, sum);
    if (delta == nullptr) return;
    float more[N];
    load(delta + column, more);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += more[i];
    store(x + column, sum);
}

template <int N> __device__ __forceinline__ float square(const float (&x)[N]) {
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < N; ++i) total += x[i] * x[i];
    return total;
}

template <int N, typename T>
__device__ __forceinline__ void scale(const float (&x)[N], float by, const float* weight, uint32_t column, T* out) {
    float weights[N], scaled[N];
    load(weight + column, weights);
#pragma unroll
    for (int i = 0; i < N; ++i) scaled[i] = x[i] * by * weights[i];
    store(out + column, scaled);
}

template <int N, typename T>
__device__ __forceinline__ void add_norm(T* x, const T* delta, const float* weight, float eps, uint32_t width, T* out) {
    __shared__ float parts[16];
    const uint64_t start = static_cast<uint64_t>(blockIdx.x) * width;
    x += start;
    out += start;
    if (delta != nullptr) delta += start;
    const uint32_t stride = blockDim.x * N;
    const uint32_t own = threadIdx.x * N;
    float kept[KEPT / N][N];
    float squares = 0.0f;
#pragma unroll
    for (int k = 0; k < KEPT / N; ++k) {
        const uint32_t column = own + k * stride;
        if (column >= width) continue;
        add(x, delta, column, kept[k]);
        squares += square(kept[k]);
    }
    for (uint32_t column = own + KEPT / N * stride; column < width; column += stride) {
        float sum[N];
        add(x, delta, column, sum);
        squares += square(sum);
    }
    const float mean = block_sum(squares, parts) / static_cast<float>(width);
    const float by = 1.0f / sqrtf(mean + eps);
#pragma unroll
    for (int k = 0; k < KEPT / N; ++k) {
        const uint32_t column = own + k * stride;
        if (column < width) scale(kept[k], by, weight, column, out);
    }
    for (uint32_t column = own + KEPT / N * stride; column < width; column += stride) {
        float sum[N];
        load(x + column, sum);
        scale(sum, by, weight, column, out);
    }
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
