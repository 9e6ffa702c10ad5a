// The two products of attention for one warp: TILES * 16 query rows by KEYS keys, and those weights by KEYS values.
//
// f16 and bf16 run on tensor cores (mma.sync m16n8k16, f32 sums); f32 has the same layout, and plain arithmetic.
// Layout of an m16n8 result (PTX ISA, "Matrix fragments for mma.m16n8k16"): with g = lane / 4 and q = lane % 4, a
// lane holds columns 2q and 2q + 1 of row g, then of row g + 8.
#pragma once

#include "attention_tile.cuh"

__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(row)) : "memory");
}

__device__ __forceinline__ void load_transposed(uint32_t (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(row)) : "memory");
}

// sums += a · b, of f16 or bf16.
template <typename T>
__device__ __forceinline__ void multiply(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    if constexpr (same<T, bf16>) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
}

template <typename T> __device__ __forceinline__ uint32_t pair(float low, float high) {
    Vector<T, 2> both = {narrow<T>(low), narrow<T>(high)};
    return *reinterpret_cast<uint32_t*>(&both);
}

// scores = q · kᵀ, of q [TILES * 16, DIM] and k [KEYS, DIM] in shared memory.
template <typename T, int DIM, int KEYS, int TILES>
__device__ __forceinline__ void score(float (&scores)[TILES][KEYS / 8][4], const T* q, const T* k) {
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
        const float* row = q + lane / 4 * STRIDE<T, DIM>;
        const float* key = k + lane % 4 * 2 * STRIDE<T, DIM>;
#pragma unroll 2
        for (int d = 0; d < DIM; d += 4) {
            Vector<float, 4> rows[2], keys[2];
#pragma unroll
            for (int r = 0; r < 2; ++r)
                rows[r] = *reinterpret_cast<const Vector<float, 4>*>(row + r * 8 * STRIDE<T, DIM> + d);
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j) {
#pragma unroll
                for (int c = 0; c < 2; ++c)
                    keys[c] = *reinterpret_cast<const Vector<float, 4>*>(key + (j * 8 + c) * STRIDE<T, DIM> + d);
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int x = 0; x < 4; ++x)
                        scores[0][j][i] = fmaf(rows[i / 2].at[x], keys[i % 2].at[x], scores[0][j][i]);
                }
            }
        }
    } else {
        const T* row = q + lane % 16 * STRIDE<T, DIM> + lane / 16 * 8;
        const T* key = k + (lane / 16 * 8 + lane % 8) * STRIDE<T, DIM> + lane / 8 % 2 * 8;
#pragma unroll
        for (int d = 0; d < DIM; d += 16) {
            uint32_t a[TILES][4];
#pragma unroll
            for (int t = 0; t < TILES; ++t) load_matrices(a[t], row + t * TILE_ROWS * STRIDE<T, DIM> + d);
#pragma unroll
            for (int j = 0; j < KEYS / 8; j += 2) {
                uint32_t b[4];
                load_matrices(b, key + j * 8 * STRIDE<T, DIM> + d);
#pragma unroll
                for (int t = 0; t < TILES; ++t) {
                    multiply<T>(scores[t][j], a[t], b[0], b[1]);
                    multiply<T>(scores[t][j + 1], a[t], b[2], b[3]);
                }
            }
        }
    }
}

// out += weights · v, of v [KEYS, DIM] in shared memory.
template <typename T, int DIM, int KEYS, int TILES>
__device__ __forceinline__ void weigh(float (&out)[TILES][DIM / 8][4], const float (&weights)[TILES][KEYS / 8][4],
                                      const T* v) {
    const int lane = threadIdx.x % 32;
    if constexpr (same<T, float>) {
        static_assert(TILES == 1);
#pragma unroll
        for (int key = 0; key < KEYS; ++key) {
            const int holder = lane / 4 * 4 + key % 8 / 2;
            const float low = __shfl_sync(0xffffffffu, weights[0][key / 8][key % 2], holder);
            const float high = __shfl_sync(0xffffffffu, weights[0][key / 8][2 + key % 2], holder);
            const float* value = v + key * STRIDE<T, DIM> + lane % 4 * 2;
#pragma unroll
            for (int j = 0; j < DIM / 8; ++j) {
                const auto two = *reinterpret_cast<const Vector<float, 2>*>(value + j * 8);
                out[0][j][0] = fmaf(low, two.at[0], out[0][j][0]);
                out[0][j][1] = fmaf(low, two.at[1], out[0][j][1]);
                out[0][j][2] = fmaf(high, two.at[0], out[0][j][2]);
                out[0][j][3] = fmaf(high, two.at[1], out[0][j][3]);
            }
        }
    } else {
        const T* value = v + lane % 16 * STRIDE<T, DIM> + lane / 16 * 8;
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
                load_transposed(b, value + key * STRIDE<T, DIM> + j * 8);
#pragma unroll
                for (int t = 0; t < TILES; ++t) {
                    multiply<T>(out[t][j], a[t], b[0], b[1]);
                    multiply<T>(out[t][j + 1], a[t], b[2], b[3]);
                }
            }
        }
    }
}
