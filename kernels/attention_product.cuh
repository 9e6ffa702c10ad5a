// The two products of attention for one warp: TILES * 16 query rows by KEYS keys, and those weights by KEYS values.
//
// f16 and bf16 run on tensor cores (mma.sync m16n8k16, f32 sums); f32 has the same layout, and plain arithmetic.
// Layout of an m16n8 result (PTX ISA, "Matrix fragments for mma.m16n8k16"): with g = lane / 4 and q = lane % 4, a
// lane holds columns 2q and 2q + 1 of row g, then of row g + 8.
#pragma once

#include "attention_query.cuh"
#include "fragment.cuh"

template <typename T> __device__ __forceinline__ uint32_t pair(float low, float high) {
    Vector<T, 2> both = {narrow<T>(low), narrow<T>(high)};
    return *reinterpret_cast<uint32_t*>(&both);
}

// scores = q · kᵀ, of k [KEYS, DIM] in shared memory.
template <typename T, int DIM, int KEYS, int TILES, typename Q>
__device__ __forceinline__ void score(float (&scores)[TILES][KEYS / 8][4], const Q& q, const char* k) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < TILES; ++t) {
#pragma unroll
        for (int j = 0; j < KEYS / 8; ++j) {
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[t][j][i] = 0.0f;
        }
    }
    if constexpr (same<T, float>) {
        static_assert(TILES == 1);
        const Place<T, DIM> row(lane / 4, 0), key(lane % 4 * 2, 0);
#pragma unroll 2
        for (int d = 0; d < DIM / 4; ++d) {
            Vector<float, 4> rows[2], keys[2];
#pragma unroll
            for (int r = 0; r < 2; ++r)
                rows[r] = *reinterpret_cast<const Vector<float, 4>*>(q.memory + row.at(r * 8, d));
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j) {
#pragma unroll
                for (int c = 0; c < 2; ++c)
                    keys[c] = *reinterpret_cast<const Vector<float, 4>*>(k + key.at(j * 8 + c, d));
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int x = 0; x < 4; ++x)
                        scores[0][j][i] = fmaf(rows[i / 2].at[x], keys[i % 2].at[x], scores[0][j][i]);
                }
            }
        }
    } else {
        const Place<T, DIM> key(lane / 16 * 8 + lane % 8, lane / 8 % 2);
        const uint32_t keys = shared_address(k);
#pragma unroll
        for (int d = 0; d < DIM / 16; ++d) {
            uint32_t a[TILES][4];
#pragma unroll
            for (int t = 0; t < TILES; ++t) q.take(a[t], t, d);
#pragma unroll
            for (int j = 0; j < KEYS / 8; j += 2) {
                uint32_t b[4];
                load_matrices(b, keys + key.at(j * 8, d * 2));
#pragma unroll
                for (int t = 0; t < TILES; ++t) {
                    mma(scores[t][j], a[t], {b[0], b[1]}, T());
                    mma(scores[t][j + 1], a[t], {b[2], b[3]}, T());
                }
            }
        }
    }
}

// out += weights · v, of v [KEYS, DIM] in shared memory.
template <typename T, int DIM, int KEYS, int TILES>
__device__ __forceinline__ void weigh(float (&out)[TILES][DIM / 8][4], const float (&weights)[TILES][KEYS / 8][4],
                                      const char* v) {
    const int lane = threadIdx.x % 32;
    if constexpr (same<T, float>) {
        static_assert(TILES == 1);
        const Place<T, DIM> value(0, lane % 4 / 2);
#pragma unroll
        for (int key = 0; key < KEYS; ++key) {
            const int holder = lane / 4 * 4 + key % 8 / 2;
            const float low = __shfl_sync(0xffffffffu, weights[0][key / 8][key % 2], holder);
            const float high = __shfl_sync(0xffffffffu, weights[0][key / 8][2 + key % 2], holder);
#pragma unroll
            for (int j = 0; j < DIM / 8; ++j) {
                const auto two = *reinterpret_cast<const Vector<float, 2>*>(v + value.at(key, j * 2) + lane % 2 * 8);
                out[0][j][0] = fmaf(low, two.at[0], out[0][j][0]);
                out[0][j][1] = fmaf(low, two.at[1], out[0][j][1]);
                out[0][j][2] = fmaf(high, two.at[0], out[0][j][2]);
                out[0][j][3] = fmaf(high, two.at[1], out[0][j][3]);
            }
        }
    } else {
        const Place<T, DIM> value(lane % 16, lane / 16);
        const uint32_t values = shared_address(v);
#pragma unroll
        for (int key = 0; key < KEYS; key += 16) {
            uint32_t a[TILES][4];
#pragma unroll
            for (int t = 0; t < TILES; ++t) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float* two = weights[t][key / 8 + i / 2] + i % 2 * 2;
                    a[t][i] = pair<T>(two[0], two[1]);
                }
            }
#pragma unroll
            for (int j = 0; j < DIM / 8; j += 2) {
                uint32_t b[4];
                load_transposed(b, values + value.at(key, j));
#pragma unroll
                for (int t = 0; t < TILES; ++t) {
                    mma(out[t][j], a[t], {b[0], b[1]}, T());
                    mma(out[t][j + 1], a[t], {b[2], b[3]}, T());
                }
            }
        }
    }
}
