// One pass over keys and values with a running softmax (Dao, "FlashAttention-2", 2023, algorithm 1): of its
// query rows a warp keeps the peak of the scores so far, the sum of the weights and the weighted sum of values.
#pragma once

#include "attention_product.cuh"

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

    // Turns the scores of tile t into weights, and what was summed so far into the same unit.
    template <int N> __device__ __forceinline__ void weights_of(int t, float (&scores)[N][4], float scale) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float top = -INFINITY;
#pragma unroll
            for (int j = 0; j < N; ++j) top = fmaxf(top, fmaxf(scores[j][2 * r], scores[j][2 * r + 1]));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
            const float highest = fmaxf(peak[t][r], top * scale);
            // A row that has seen no key yet has weights of 0 and not of exp2(-inf + inf).
            const float unit = highest == -INFINITY ? 0.0f : highest;
            const float shrink = power_of_2(peak[t][r] - unit);
            peak[t][r] = highest;
            float total = 0.0f;
#pragma unroll
            for (int j = 0; j < N; ++j) {
#pragma unroll
                for (int i = 2 * r; i < 2 * r + 2; ++i) {
                    scores[j][i] = power_of_2(fmaf(scores[j][i], scale, -unit));
                    total += scores[j][i];
                }
            }
            sum[t][r] = fmaf(sum[t][r], shrink, total);
            // The peak seldom changes after the first keys.
            if (shrink == 1.0f) continue;
#pragma unroll
            for (int j = 0; j < DIM / 8; ++j) {
                out[t][j][2 * r] *= shrink;
                out[t][j][2 * r + 1] *= shrink;
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

// -inf for keys from `first` on outside what the lane's two rows see.
template <int N> __device__ __forceinline__ void mask(float (&scores)[N][4], int first, const Span (&spans)[2]) {
    const bool inside = first >= max(spans[0].from, spans[1].from) && first + N * 8 <= min(spans[0].to, spans[1].to);
    if (inside) return;
#pragma unroll
    for (int j = 0; j < N; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int key = first + j * 8 + threadIdx.x % 4 * 2 + i % 2;
            if (key < spans[i / 2].from || key >= spans[i / 2].to) scores[j][i] = -INFINITY;
        }
    }
}

// Adds keys [begin, end), KEYS of each `stride`, to `running`: each of the team's WARPS for its own q. While one tile
// is worked on, the next is on its way.
template <typename T, typename C, int DIM, int KEYS, int WARPS, int TILES>
__device__ __forceinline__ void pass_over_keys(Running<DIM, TILES>& running, const Attention<T, C>& a,
                                               const Packed& rows, const T* q, char* memory, int begin, int end,
                                               int stride, const Span (&spans)[TILES][2]) {
    using KeyTile = Tile<T, C, DIM, KEYS, WARPS>;
    if (begin >= end) return;
    const Pages pages(a, rows);
    KeyTile k(memory), v(memory + KeyTile::BYTES);
    const int own = threadIdx.x / 32 % WARPS * KeyTile::ROWS + threadIdx.x % 32 % KeyTile::ROWS;
    int source = pages.row(begin + own, end);
    k.fetch(a.k, pages, source);
    commit_copies();
    for (int first = begin; first < end; first += stride) {
        v.fetch(a.v, pages, source);
        commit_copies();
        source = pages.row(first + stride + own, end);
        await_copies<1>();
        k.settle(pages);
        sync_team<WARPS>();
        float scores[TILES][KEYS / 8][4];
        score<T, DIM, KEYS>(scores, q, k.rows);
        sync_team<WARPS>();
        if (first + stride < end) k.fetch(a.k, pages, source);
        commit_copies();
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
            mask(scores[t], first, spans[t]);
            running.weights_of(t, scores[t], a.scale);
        }
        await_copies<1>();
        v.settle(pages);
        sync_team<WARPS>();
        weigh<T, DIM, KEYS>(running.out, scores, v.rows);
        sync_team<WARPS>();
    }
    await_copies<0>();
}
