// The product of product.cuh in f32 arithmetic: f32 activations, odd widths, blocks of scales that lie anyhow.
// Weights and x are widened (and multiplied by their scales) on their way to shared memory, so results are those of
// plain f32 code but for the order of sums. One load a lane and element: exact and safe first, not fast.
//
// A block computes 32 rows by 32 features: lanes lie along features, each of 8 warps has 4 rows.
// Grid (n / 32, tiles); block 256.
#include "weight.cuh"

constexpr int SIDE = 32;
constexpr int THREADS = 256;
constexpr int EACH = SIDE * SIDE / THREADS;

// Adds a step of k to the first ROUNDS of a lane's sums: a tile of few rows has no others.
template <int ROUNDS>
__device__ __forceinline__ void add(const float (&x_part)[SIDE][SIDE + 1], const float (&w_part)[SIDE][SIDE + 1],
                                    int lane, int warp, float (&sums)[EACH]) {
#pragma unroll 8
    for (int j = 0; j < SIDE; ++j) {
        const float w = w_part[lane][j];
#pragma unroll
        for (int i = 0; i < ROUNDS; ++i) sums[i] = fmaf(x_part[warp + i * (THREADS / SIDE)][j], w, sums[i]);
    }
}

template <typename X, typename W> __device__ __forceinline__ void product(PRODUCT_PARAMETERS) {
    constexpr bool SCALED = sizeof(W) == 1;
    constexpr bool X_SCALED = sizeof(X) == 1;
    // One more column, so that lanes along rows meet different banks.
    __shared__ float w_part[SIDE][SIDE + 1];
    __shared__ float x_part[SIDE][SIDE + 1];

    const Tile tile = tile_of(tiles, SIDE, rows);
    if (tile.rows == 0) return;
    const Weight weight = weights[tile.group];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t n_first = blockIdx.x * SIDE;

    const W* w_rows[EACH];
    const X* x_rows[EACH];
    const float* w_scales[EACH];
    const float* x_scale_rows[EACH];
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const uint32_t row = warp + i * (THREADS / SIDE);
        const uint32_t feature = min(n_first + row, n - 1);
        w_rows[i] = static_cast<const W*>(weight.values) + static_cast<size_t>(feature) * k;
        if (SCALED) w_scales[i] = weight.scales + static_cast<size_t>(weight.grid_rows[feature]) * grid_columns;
        // Rows beyond the tile's are its first, and not kept.
        const size_t from = source_row(order, divisor, tile.first + (row < tile.rows ? row : 0));
        x_rows[i] = static_cast<const X*>(x) + from * k;
        if (X_SCALED) x_scale_rows[i] = x_scales + from * grid_columns;
    }
    const int rounds = tile.rows <= THREADS / SIDE ? 1 : EACH;
    float w_next[EACH], x_next[EACH] = {};
    auto load = [&](uint32_t at) {
        const bool there = at < k;
        const uint32_t block = SCALED ? (column_offset + min(at, k - 1)) / block_columns : 0;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            w_next[i] = there ? widen(w_rows[i][at]) : 0.0f;
            if (SCALED) w_next[i] *= w_scales[i][block];
            if (i >= rounds) continue;
            x_next[i] = there ? widen(x_rows[i][at]) : 0.0f;
            if (X_SCALED) x_next[i] *= x_scale_rows[i][block];
        }
    };
    float sums[EACH] = {};
    load(lane);
    for (uint32_t start = 0; start < k; start += SIDE) {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            w_part[warp + i * (THREADS / SIDE)][lane] = w_next[i];
            x_part[warp + i * (THREADS / SIDE)][lane] = x_next[i];
        }
        __syncthreads();
        load(start + SIDE + lane);
        if (rounds == 1) add<1>(x_part, w_part, lane, warp, sums);
        else add<EACH>(x_part, w_part, lane, warp, sums);
        __syncthreads();
    }
    const uint32_t feature = n_first + lane;
    if (feature >= n) return;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const uint32_t row = warp + i * (THREADS / SIDE);
        if (row >= tile.rows) continue;
        const size_t to = static_cast<size_t>(target_row(order, scatter, tile.first + row)) * n + feature;
        store(out, out_type, to, sums[i] + bias_of(bias, feature));
    }
}

#define EXPORT_PRODUCT(types, X, W)                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) product_any_##types(PRODUCT_PARAMETERS) {        \
        product<X, W>(PRODUCT_ARGUMENTS);                                                                  \
    }
EXPORT_PRODUCT(f32_f32, float, float)
EXPORT_PRODUCT(f16_f16, f16, f16)
EXPORT_PRODUCT(bf16_bf16, bf16, bf16)
EXPORT_PRODUCT(f32_e4m3, float, e4m3)
EXPORT_PRODUCT(f16_e4m3, f16, e4m3)
EXPORT_PRODUCT(bf16_e4m3, bf16, e4m3)
EXPORT_PRODUCT(e4m3_e4m3, e4m3, e4m3)
