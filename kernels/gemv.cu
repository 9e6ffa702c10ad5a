// y = x Wᵀ + bias for up to 8 rows: a step that decodes takes as long as its weights are read.
//
//   weight [n, k] and x [rows, k] of T, rows of whole accesses; bias f32 [n] or null; out [rows, n] of `out_type`
//   `_gated`: weight and bias are gate over up; out [rows, n / 2] is silu(gate) * up, of both as T would hold them
//
// A block has 16 features, or 8 of gate and those of up; its 8 warps lie along k, each with every 8th run of 256 bytes of
// a row. All loads of a run are on their way at once, 8 of weights a lane, which L1 does not keep, and the rows of x,
// which it does; the first of weights before the kernel in front is done, where kernels may overlap. No warp waits for
// another before its sums are done; they are added in order.
// Grid (features / 16), or (n / 2 / 8); block 256. Moves each weight once, and out; x once a multiprocessor and more.
#include "chain.cuh"
#include "fragment.cuh"
#include "weight.cuh"

using f32 = float;

constexpr int ROWS = 8, FEATURES = 16, WARPS = 8;
// Accesses that four lanes make side by side are a chunk of a row, and so many of them a run.
constexpr int CHUNK = 64, CHUNKS = 4, RUN = CHUNK * CHUNKS;
// Warps then write to as many banks as they have lanes.
constexpr int STRIDE = FEATURES + 4;

__device__ __forceinline__ uint4 streamed(const char* at) {
    uint4 v;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at));
    return v;
}

__device__ __forceinline__ uint4 kept(const char* at) { return *reinterpret_cast<const uint4*>(at); }

// The sums of lane (g, t) = (lane / 4, lane % 4): features g and g + 8 with rows 2 t and 2 t + 1, as the tensor cores lay
// them out. The lane brings accesses t of a chunk, of both features and of row g of x.
template <typename T> struct Sums {
    using F = Fragment<T, T>;
    float at[4] = {};
    uint4 x[CHUNKS];

    __device__ __forceinline__ void fetch(int chunk, const char* from, size_t row_bytes, int g, int rows) {
        x[chunk] = g < rows ? kept(from + g * row_bytes) : make_uint4(0, 0, 0, 0);
    }
    __device__ __forceinline__ void add(int chunk, const uint4& low, const uint4& high, const char*, size_t, int) {
        uint32_t a[F::STEPS][4], b[F::STEPS][2];
        F::weight(a, low, high);
        F::input(b, {x[chunk]});
#pragma unroll
        for (int i = 0; i < F::STEPS; ++i) mma(at, a[i], b[i], T());
    }
    __device__ __forceinline__ void finish() {}
};

// In f32 without tensor cores: all rows with the lane's part of k, then over the lanes of its features.
template <> struct Sums<float> {
    float all[2][ROWS] = {};
    float at[4];

    __device__ __forceinline__ void fetch(int, const char*, size_t, int, int) {}
    __device__ __forceinline__ void add(int, const uint4& low, const uint4& high, const char* from, size_t row_bytes,
                                        int rows) {
        const uint4* const features[2] = {&low, &high};
#pragma unroll
        for (int row = 0; row < ROWS; ++row) {
            if (row >= rows) break;
            const uint4 x = kept(from + row * row_bytes);
#pragma unroll
            for (int h = 0; h < 2; ++h)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    all[h][row] = fmaf(__uint_as_float(word(*features[h], i)), __uint_as_float(word(x, i)), all[h][row]);
        }
    }
    __device__ __forceinline__ void finish() {
        const int t = threadIdx.x % 4;
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
            for (int row = 0; row < ROWS; ++row) {
                float sum = all[h][row];
                sum += __shfl_xor_sync(0xffffffffu, sum, 1);
                sum += __shfl_xor_sync(0xffffffffu, sum, 2);
                if (row / 2 == t) at[2 * h + row % 2] = sum;
            }
    }
};

template <typename T, bool GATED>
__device__ __forceinline__ void gemv(const char* weight, const char* x, const float* bias, void* out, uint32_t out_type,
                                     uint32_t rows, uint32_t n, uint32_t k) {
    constexpr int OWN = GATED ? FEATURES / 2 : FEATURES;
    __shared__ float parts[WARPS][ROWS][STRIDE];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const uint32_t width = GATED ? n / 2 : n, first = blockIdx.x * OWN;
    // Features beyond the last are the last, and not kept.
    const uint32_t low = min(first + g, width - 1), high = GATED ? width + low : min(first + 8 + g, width - 1);
    const size_t row_bytes = static_cast<size_t>(k) * sizeof(T);
    // The lane's first access of a run: its place in a row, in those of its features, and in the first row of x.
    uint32_t from = warp * RUN + t * 16;
    const char* w_low = weight + low * row_bytes + from;
    const char* w_high = weight + high * row_bytes + from;
    x += from;
    Sums<T> sums;
    uint4 w[CHUNKS][2];
    const auto there = [&](int c) { return from + c * CHUNK < row_bytes; };
    const auto fetch_weights = [&] {
#pragma unroll
        for (int c = 0; c < CHUNKS; ++c) {
            w[c][0] = there(c) ? streamed(w_low + c * CHUNK) : make_uint4(0, 0, 0, 0);
            w[c][1] = there(c) ? streamed(w_high + c * CHUNK) : make_uint4(0, 0, 0, 0);
        }
    };
    begin_next();
    fetch_weights();
    await_front();
    // The warp's turn ends for all of its lanes at once: they multiply together.
    for (uint32_t run = warp * RUN; run < row_bytes; run += WARPS * RUN) {
#pragma unroll
        for (int c = 0; c < CHUNKS; ++c) sums.fetch(c, x + c * CHUNK, row_bytes, g, there(c) ? rows : 0);
#pragma unroll
        for (int c = 0; c < CHUNKS; ++c)
            sums.add(c, w[c][0], w[c][1], x + c * CHUNK, row_bytes, there(c) ? rows : 0);
        from += WARPS * RUN;
        w_low += WARPS * RUN;
        w_high += WARPS * RUN;
        x += WARPS * RUN;
        if (run + WARPS * RUN < row_bytes) fetch_weights();
    }
    sums.finish();
#pragma unroll
    for (int i = 0; i < 4; ++i) parts[warp][2 * t + i % 2][g + i / 2 * 8] = sums.at[i];
    __syncthreads();
    if (threadIdx.x >= OWN * ROWS) return;
    // Rows of a warp that lie in banks of their own.
    const int column = lane % OWN, row = GATED ? warp + lane / OWN * 2 : warp + lane / OWN * 4;
    const uint32_t feature = first + column;
    if (row >= rows || feature >= width) return;
    const auto total = [&](int part, uint32_t of) {
        float sum = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) sum += parts[w][row][part];
        return sum + bias_of(bias, of);
    };
    float value = total(column, feature);
    if constexpr (GATED) {
        const float gate = widen(narrow<T>(value)), up = widen(narrow<T>(total(column + 8, width + feature)));
        value = silu(gate) * up;
    }
    store(out, out_type, static_cast<size_t>(row) * width + feature, value);
}

#define EXPORT_GEMV_AS(NAME, T, GATED)                                                                              \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, 2)                                                     \
        NAME(const char* weight, const char* x, const float* bias, void* out, uint32_t out_type, uint32_t rows,     \
             uint32_t n, uint32_t k) {                                                                              \
        gemv<T, GATED>(weight, x, bias, out, out_type, rows, n, k);                                                 \
    }
#define EXPORT_GEMV(T)                   \
    EXPORT_GEMV_AS(gemv_##T, T, false)   \
    EXPORT_GEMV_AS(gemv_gated_##T, T, true)

EXPORT_GEMV(f32)
EXPORT_GEMV(f16)
EXPORT_GEMV(bf16)
