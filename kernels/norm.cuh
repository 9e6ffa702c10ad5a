// A row of the residual sum and root-mean-square norm (Zhang and Sennrich 2019), for one block: see norm.cu and all_reduce.cu.
#pragma once

#include "access.cuh"

// Elements of x that a thread holds between the sum of squares and the product: 8192 of a row for 512 threads.
constexpr int KEPT = 16;

// N elements of the sum at `column`, rounded as x holds them. `more(column, values)` tells what is added; false: nothing.
template <int N, typename T, typename F>
__device__ __forceinline__ void add(T* x, F more, uint32_t column, float (&sum)[N]) {
    load(x + column, sum);
    float values[N];
    if (!more(column, values)) return;
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += values[i];
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

// x, out [width].
template <int N, typename T, typename F>
__device__ __forceinline__ void norm_row(T* x, F more, const float* weight, float eps, uint32_t width, T* out) {
    __shared__ float parts[16];
    const uint32_t stride = blockDim.x * N;
    const uint32_t own = threadIdx.x * N;
    float kept[KEPT / N][N];
    float squares = 0.0f;
#pragma unroll
    for (int k = 0; k < KEPT / N; ++k) {
        const uint32_t column = own + k * stride;
        if (column >= width) continue;
        add(x, more, column, kept[k]);
        squares += square(kept[k]);
    }
    for (uint32_t column = own + KEPT / N * stride; column < width; column += stride) {
        float sum[N];
        add(x, more, column, sum);
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
