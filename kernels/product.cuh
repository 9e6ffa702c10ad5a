// y = x Wᵀ for tiles of rows, each with a weight of its own: linear layers (one weight) and experts (one for each).
//
//   weights  [groups], each [n, k] row-major, of W; with e4m3 the scales of its blocks, f32 [grid rows, grid columns]
//   x        [any, k] row-major, of X; e4m3 with scales f32 [any, grid columns]
//   tiles    {group, first row, rows, -} for each blockIdx.y; none: all rows meet weight 0
//   order    what a tile's rows are: row r reads x[order[r] / divisor], or x[r] where the divisor is 0, and is
//            written to out[order[r]] where `scatter`, else to out[r]
//   out      [any, n] of `out_type`, the sum (f32) plus `bias`, f32 [n], where there is one
//
// A block computes 8 NT rows by 16 MT WN features: WN warps lie along n, WK along k, whose sums are added in order
// at the end. Each weight is read once a tile, 16 bytes a lane and straight to registers, RING - 1 steps ahead; x
// goes through shared memory by cp.async, in a ring of RING steps, so that all warps read it once from there.
// Sums of a chunk (64 steps of k) of e4m3 are multiplied by the block's scale before they are added: blocks begin
// at multiples of a chunk. Rows of x and of the weights begin at multiples of 16 bytes.
//
// Grid (n / (16 MT WN), tiles); block 32 WN WK.
#pragma once

#include "fragment.cuh"
#include "weight.cuh"

__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool there) {
    const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(there ? 16 : 0) : "memory");
}

__device__ __forceinline__ void copy_async_4(void* shared, const void* global, bool there) {
    const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(there ? 4 : 0) : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int LEFT> __device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

template <typename X, typename W, int MT, int NT, int WN, int WK>
__device__ __forceinline__ void product(PRODUCT_PARAMETERS) {
    using F = Fragment<X, W>;
    constexpr bool SCALED = sizeof(W) == 1;
    constexpr bool X_SCALED = sizeof(X) == 1;
    // A wide block is alone on its multiprocessor, whose registers hold what sums and conversions leave.
    constexpr int RING = MT == 1 ? 3 : sizeof(W) == 2 ? 4 : sizeof(X) == 1 ? 3 : 2;
    constexpr int THREADS = 32 * WN * WK;
    constexpr int TILE = 8 * NT;
    constexpr int CHUNK = 4 * per_access<W>();
    constexpr int SPAN = WK * CHUNK;
    constexpr int X_BYTES = SPAN * static_cast<int>(sizeof(X));
    // Eight lanes that read at once then meet different banks.
    constexpr int STRIDE = X_BYTES + (F::X_LOADS == 2 ? 16 : X_BYTES % 128 == 64 ? 0 : 64);
    constexpr int PIECES = X_BYTES / 16;
    constexpr int COPIES = TILE * PIECES / THREADS;
    static_assert(THREADS % PIECES == 0 && TILE * PIECES % THREADS == 0, "copies of x share out");
    static_assert((WK - 1) * WN * MT * NT * 512 <= RING * TILE * STRIDE, "sums fit where x was");
    static_assert(!X_SCALED || TILE * WK <= THREADS, "a lane copies one scale of x at most");

    extern __shared__ uint4 room[];
    char* const x_ring = reinterpret_cast<char*>(room);
    float* const scale_ring = reinterpret_cast<float*>(x_ring + RING * TILE * STRIDE);

    const Tile tile = tile_of(tiles, TILE, rows);
    if (tile.rows == 0) return;
    const Weight weight = weights[tile.group];
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int warp = threadIdx.x / 32, along_n = warp % WN, along_k = warp / WN;
    const uint32_t n_first = (blockIdx.x * WN + along_n) * 16 * MT;

    // Where this lane's rows of the weight begin; those beyond the last are the last, and not kept.
    const char* w_rows[MT][2];
    const float* w_scales[MT][2];
#pragma unroll
    for (int m = 0; m < MT; ++m) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            const uint32_t row = min(n_first + 16 * m + 8 * h + g, n - 1);
            w_rows[m][h] = static_cast<const char*>(weight.values) + static_cast<size_t>(row) * k * sizeof(W) + 16 * t;
            if (SCALED) w_scales[m][h] = weight.scales + static_cast<size_t>(weight.grid_rows[row]) * grid_columns;
        }
    }
    // This lane's pieces of x: one column of pieces, every THREADS / PIECES rows.
    const int piece = threadIdx.x % PIECES;
    const char* x_rows[COPIES];
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
        const uint32_t row = threadIdx.x / PIECES + i * (THREADS / PIECES);
        const bool there = row < tile.rows;
        const size_t from = there ? source_row(order, divisor, tile.first + row) : 0;
        x_rows[i] = there ? static_cast<const char*>(x) + from * k * sizeof(X) + 16 * piece : nullptr;
    }
    const float* x_scale_row = nullptr;
    if (X_SCALED && threadIdx.x / WK < tile.rows) {
        x_scale_row = x_scales + static_cast<size_t>(source_row(order, divisor, tile.first + threadIdx.x / WK)) * grid_columns;
    }

    uint4 w[RING][MT][2];
    float scales[RING][MT][2];
    auto load_weights = [&](uint32_t step, uint4 (&w)[MT][2], float (&scales)[MT][2]) {
        const uint32_t from = (step * WK + along_k) * CHUNK;
        const bool there = from + t * per_access<W>() < k;
        const uint32_t block = SCALED && from < k ? (column_offset + from) / block_columns : 0;
#pragma unroll
        for (int m = 0; m < MT; ++m) {
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                w[m][h] = make_uint4(0, 0, 0, 0);
                if (there) w[m][h] = __ldg(reinterpret_cast<const uint4*>(w_rows[m][h] + static_cast<size_t>(from) * sizeof(W)));
                if (SCALED) scales[m][h] = __ldg(w_scales[m][h] + block) * F::FACTOR;
            }
        }
    };
    auto copy_x = [&](uint32_t step, int slot) {
        char* const to = x_ring + slot * TILE * STRIDE + 16 * piece;
        const bool there = step * SPAN + piece * per_access<X>() < k;
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const int row = threadIdx.x / PIECES + i * (THREADS / PIECES);
            const bool copied = there && x_rows[i] != nullptr;
            copy_async_16(to + row * STRIDE, copied ? x_rows[i] + static_cast<size_t>(step) * X_BYTES : x, copied);
        }
        if (X_SCALED && threadIdx.x < TILE * WK) {
            const uint32_t from = (step * WK + threadIdx.x % WK) * CHUNK;
            const bool copied = from < k && x_scale_row != nullptr;
            const float* const scale = copied ? x_scale_row + (column_offset + from) / block_columns : x_scales;
            copy_async_4(scale_ring + slot * TILE * WK + threadIdx.x, scale, copied);
        }
    };

    float sums[MT][NT][4] = {};
    const uint32_t steps = (k + SPAN - 1) / SPAN;
#pragma unroll
    for (int s = 0; s < RING - 1; ++s) {
        if (s < steps) {
            copy_x(s, s);
            load_weights(s, w[s], scales[s]);
        }
        commit_copies();
    }
    for (uint32_t base = 0; base < steps; base += RING) {
#pragma unroll
        for (int s = 0; s < RING; ++s) {
            const uint32_t step = base + s;
            if (step >= steps) break;
            wait_for_copies<RING - 2>();
            __syncthreads();
            constexpr int AHEAD = RING - 1;
            if (step + AHEAD < steps) {
                copy_x(step + AHEAD, (s + AHEAD) % RING);
                load_weights(step + AHEAD, w[(s + AHEAD) % RING], scales[(s + AHEAD) % RING]);
            }
            commit_copies();
            if ((step * WK + along_k) * CHUNK >= k) continue;
            uint32_t a[MT][F::STEPS][4];
#pragma unroll
            for (int m = 0; m < MT; ++m) F::weight(a[m], w[s][m][0], w[s][m][1]);
            // A product takes its words from registers side by side, and loads leave them apart: they would be moved anew
            // for each product, but where they come from an operation. The grid has no z.
            if (MT > 1 && F::LOADED) {
#pragma unroll
                for (int m = 0; m < MT; ++m)
#pragma unroll
                    for (int i = 0; i < 4 * F::STEPS; ++i) a[m][i / 4][i % 4] ^= blockIdx.z;
            }
            const char* const from = x_ring + s * TILE * STRIDE + (along_k * CHUNK + t * per_access<W>()) * sizeof(X);
#pragma unroll
            for (int j = 0; j < NT; ++j) {
                // A tall tile that is at most half full is half the work.
                if (NT >= 8 && j == NT / 2 && tile.rows <= 4 * NT) break;
                uint4 loaded[F::X_LOADS];
#pragma unroll
                for (int i = 0; i < F::X_LOADS; ++i) {
                    loaded[i] = *reinterpret_cast<const uint4*>(from + (8 * j + g) * STRIDE + 16 * i);
                }
                uint32_t b[F::STEPS][2];
                F::input(b, loaded);
                float x_scale[2] = {1.0f, 1.0f};
                if (X_SCALED) {
                    x_scale[0] = scale_ring[(s * TILE + 8 * j + 2 * t) * WK + along_k];
                    x_scale[1] = scale_ring[(s * TILE + 8 * j + 2 * t + 1) * WK + along_k];
                }
#pragma unroll
                for (int m = 0; m < MT; ++m) {
                    if (SCALED) {
                        float part[4] = {};
#pragma unroll
                        for (int i = 0; i < F::STEPS; ++i) mma(part, a[m][i], b[i], typename F::Type());
#pragma unroll
                        for (int i = 0; i < 4; ++i) {
                            const float scale = X_SCALED ? scales[s][m][i / 2] * x_scale[i % 2] : scales[s][m][i / 2];
                            sums[m][j][i] = fmaf(part[i], scale, sums[m][j][i]);
                        }
                    } else {
#pragma unroll
                        for (int i = 0; i < F::STEPS; ++i) mma(sums[m][j], a[m][i], b[i], typename F::Type());
                    }
                }
            }
        }
    }
    if (WK > 1) {
        __syncthreads();
        float* const parts = reinterpret_cast<float*>(room);
        constexpr int EACH = MT * NT * 4;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            if (along_k > 0) parts[((warp - WN) * EACH + i) * 32 + lane] = sums[i / (4 * NT)][i / 4 % NT][i % 4];
        }
        __syncthreads();
        if (along_k > 0) return;
        for (int other = 0; other < WK - 1; ++other) {
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                sums[i / (4 * NT)][i / 4 % NT][i % 4] += parts[((other * WN + along_n) * EACH + i) * 32 + lane];
            }
        }
    }
#pragma unroll
    for (int j = 0; j < NT; ++j) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            const uint32_t row = 8 * j + 2 * t + c;
            if (row >= tile.rows) continue;
            const size_t to = static_cast<size_t>(target_row(order, scatter, tile.first + row)) * n;
#pragma unroll
            for (int m = 0; m < MT; ++m) {
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    const uint32_t feature = n_first + 16 * m + 8 * h + g;
                    if (feature < n) store(out, out_type, to + feature, sums[m][j][2 * h + c] + bias_of(bias, feature));
                }
            }
        }
    }
}

#define EXPORT_PRODUCT(name, X, W, MT, NT, WN, WK)                                                          \
    extern "C" __global__ void __launch_bounds__(32 * WN * WK) name(PRODUCT_PARAMETERS) {                  \
        product<X, W, MT, NT, WN, WK>(PRODUCT_ARGUMENTS);                                                   \
    }
// Tiles for few rows read each weight by as many warps as can be; those for many share x among features. Experts take
// the least and the highest.
#define EXPORT_EXPERTS(types, X, W)                          \
    EXPORT_PRODUCT(product_8x16_##types, X, W, 1, 1, 1, 8)   \
    EXPORT_PRODUCT(product_64x64_##types, X, W, 1, 8, 4, 2)  \
    EXPORT_PRODUCT(product_64x256_##types, X, W, 2, 8, 8, 1)
#define EXPORT_PRODUCTS(types, X, W)                         \
    EXPORT_EXPERTS(types, X, W)                              \
    EXPORT_PRODUCT(product_16x16_##types, X, W, 1, 2, 1, 8)  \
    EXPORT_PRODUCT(product_32x32_##types, X, W, 1, 4, 2, 4)
