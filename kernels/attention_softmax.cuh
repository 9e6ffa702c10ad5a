// A running softmax over keys and values (Dao, "FlashAttention-2", 2023, algorithm 1): of its query rows a warp keeps
// the peak of the scores so far, the sum of the weights and the weighted sum of values.
#pragma once

#include "attention_product.cuh"
#include "attention_tile.cuh"

// Of TILES * 16 rows, of which a lane has lane / 4 and lane / 4 + 8 of each 16, in the layout of a matrix product.
template <int DIM, int TILES> struct Running {
    // Scaled to powers of 2; -inf before the first key.
    float peak[TILES][2];
    // Each lane's part, until `finish`.
    float sum[TILES][2];
    float out[TILES][DIM / 8][4];

    __device__ __forceinline__ Running() {
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                peak[t][r] = -INFINITY;
                sum[t][r] = 0.0f;
            }
#pragma unroll
            for (int j = 0; j < DIM / 8; ++j) {
#pragma unroll
                for (int i = 0; i < 4; ++i) out[t][j][i] = 0.0f;
            }
        }
    }

    // Turns scores into weights, and what was summed so far into the same unit: all rows together, so that their
    // chains of maxima, exchanges and powers overlap.
    template <int N> __device__ __forceinline__ void weights(float (&scores)[TILES][N][4], float scale) {
        float top[TILES][2], shrink[TILES][2];
        bool rises = false;
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                top[t][r] = -INFINITY;
#pragma unroll
                for (int j = 0; j < N; ++j)
                    top[t][r] = fmaxf(top[t][r], fmaxf(scores[t][j][2 * r], scores[t][j][2 * r + 1]));
            }
        }
#pragma unroll
        for (int apart = 1; apart <= 2; ++apart) {
#pragma unroll
            for (int t = 0; t < TILES; ++t) {
#pragma unroll
                for (int r = 0; r < 2; ++r)
                    top[t][r] = fmaxf(top[t][r], __shfl_xor_sync(0xffffffffu, top[t][r], apart));
            }
        }
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const float highest = fmaxf(peak[t][r], top[t][r] * scale);
                // A row that has seen no key yet has weights of 0 and not of exp2(-inf + inf).
                const float unit = highest == -INFINITY ? 0.0f : highest;
                shrink[t][r] = power_of_2(peak[t][r] - unit);
                rises |= shrink[t][r] != 1.0f;
                peak[t][r] = highest;
                float total = 0.0f;
#pragma unroll
                for (int j = 0; j < N; ++j) {
#pragma unroll
                    for (int i = 2 * r; i < 2 * r + 2; ++i) {
                        scores[t][j][i] = power_of_2(fmaf(scores[t][j][i], scale, -unit));
                        total += scores[t][j][i];
                    }
                }
                sum[t][r] = fmaf(sum[t][r], shrink[t][r], total);
            }
        }
        // Peaks seldom change after the first keys.
        if (!__any_sync(0xffffffffu, rises)) return;
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
#pragma unroll
            for (int j = 0; j < DIM / 8; ++j) {
#pragma unroll
                for (int i = 0; i < 4; ++i) out[t][j][i] *= shrink[t][i / 2];
            }
        }
    }

    __device__ __forceinline__ void finish() {
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                sum[t][r] += __shfl_xor_sync(0xffffffffu, sum[t][r], 1);
                sum[t][r] += __shfl_xor_sync(0xffffffffu, sum[t][r], 2);
            }
        }
    }
};

// -inf for keys from `first` on that lie behind the position of a lane's row r of tile t, or `width` and more before.
template <int N, int TILES, typename F>
__device__ __forceinline__ void mask(float (&scores)[TILES][N][4], int first, const F& position, uint32_t width) {
#pragma unroll
    for (int t = 0; t < TILES; ++t) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int before = position(t, r) - first - threadIdx.x % 4 * 2;
#pragma unroll
            for (int j = 0; j < N; ++j) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    if (static_cast<uint32_t>(before - (j * 8 + i)) >= width) scores[t][j][2 * r + i] = -INFINITY;
                }
            }
        }
    }
}
