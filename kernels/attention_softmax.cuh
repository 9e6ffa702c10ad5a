// One pass over keys and values with a running softmax (Dao, "FlashAttention-2", 2023, algorithm 1): of 16 query
// rows a warp keeps the peak of the scores so far, the sum of the weights and the weighted sum of values.
#pragma once

#include "attention_product.cuh"

// Of rows lane / 4 and lane / 4 + 8, in the layout of a matrix product.
template <int DIM> struct Running {
    // Scaled to powers of 2; -inf before the first key.
    float peak[2];
    // Each lane's part, until `finish`.
    float sum[2];
    float out[DIM / 8][4];

    __device__ __forceinline__ Running() {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            peak[r] = -INFINITY;
            sum[r] = 0.0f;
        }
#pragma unroll
        for (int j = 0; j < DIM / 8; ++j) {
#pragma unroll
            for (int i = 0; i < 4; ++i) out[j][i] = 0.0f;
        }
    }

    // Turns scores into weights, and what was summed so far into the same unit.
    template <int KEYS> __device__ __forceinline__ void weights_of(float (&scores)[KEYS / 8][4], float scale) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float top = -INFINITY;
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j) top = fmaxf(top, fmaxf(scores[j][2 * r], scores[j][2 * r + 1]));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
            const float highest = fmaxf(peak[r], top * scale);
            // A row that has seen no key yet has weights of 0 and not of exp2(-inf + inf).
            const float unit = highest == -INFINITY ? 0.0f : highest;
            const float shrink = power_of_2(peak[r] - unit);
            peak[r] = highest;
            float total = 0.0f;
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j) {
#pragma unroll
                for (int i = 2 * r; i < 2 * r + 2; ++i) {
                    scores[j][i] = power_of_2(fmaf(scores[j][i], scale, -unit));
                    total += scores[j][i];
                }
            }
            sum[r] = fmaf(sum[r], shrink, total);
#pragma unroll
            for (int j = 0; j < DIM / 8; ++j) {
                out[j][2 * r] *= shrink;
                out[j][2 * r + 1] *= shrink;
            }
        }
    }

    __device__ __forceinline__ void finish() {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
            sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
        }
    }
};

// -inf for keys outside what the lane's two rows see.
template <int KEYS>
__device__ __forceinline__ void mask(float (&scores)[KEYS / 8][4], int first, const Span (&spans)[2]) {
    const bool inside = first >= max(spans[0].from, spans[1].from) && first + KEYS <= min(spans[0].to, spans[1].to);
    if (inside) return;
#pragma unroll
    for (int j = 0; j < KEYS / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int key = first + j * 8 + threadIdx.x % 4 * 2 + i % 2;
            if (key < spans[i / 2].from || key >= spans[i / 2].to) scores[j][i] = -INFINITY;
        }
    }
}

// Adds keys [begin, end), KEYS of each `stride`, to `running`: each of the team's WARPS for its own q. While one tile
// is worked on, the next is on its way.
template <typename T, typename C, int DIM, int KEYS, int WARPS>
__device__ __forceinline__ void pass_over_keys(Running<DIM>& running, const Attention<T, C>& a, const Packed& rows,
                                               const T* q, char* memory, int begin, int end, int stride,
                                               const Span (&spans)[2]) {
    using KeyTile = Tile<T, C, DIM, KEYS, WARPS>;
    if (begin >= end) return;
    const Pages pages(a, rows);
    KeyTile k(memory), v(memory + KeyTile::BYTES);
    const int own = threadIdx.x / 32 % WARPS * KeyTile::ROWS + threadIdx.x % 32 % KeyTile::ROWS;
    int slot = pages.slot(begin + own, end);
    k.fetch(a.k, pages, slot);
    commit_copies();
    for (int first = begin; first < end; first += stride) {
        v.fetch(a.v, pages, slot);
        commit_copies();
        slot = pages.slot(first + stride + own, end);
        await_copies<1>();
        k.settle(pages);
        sync_team<WARPS>();
        float scores[KEYS / 8][4];
        score<T, DIM, KEYS>(scores, q, k.rows);
        sync_team<WARPS>();
        if (first + stride < end) k.fetch(a.k, pages, slot);
        commit_copies();
        mask<KEYS>(scores, first, spans);
        running.template weights_of<KEYS>(scores, a.scale);
        await_copies<1>();
        v.settle(pages);
        sync_team<WARPS>();
        weigh<T, DIM, KEYS>(running.out, scores, v.rows);
        sync_team<WARPS>();
    }
    await_copies<0>();
}
