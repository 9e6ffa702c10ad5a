// A warp's TILES * 16 packed query rows, as the first operand of a matrix product: brought to shared memory, and kept
// there or in registers, where there is room for them.
#pragma once

#include "attention_tile.cuh"

template <typename T, int DIM, int TILES> struct Kept {
    static constexpr int ROWS = TILES * TILE_ROWS, BYTES = ROWS * Layout<T, DIM>::ROW;
    char* memory;

    // Begins to bring them, by one warp; `query` says where row i of them begins. APART: rows that are no whole
    // accesses, element by element.
    template <bool APART, typename F> __device__ __forceinline__ void fetch(const F& query, int head_dim) const {
        constexpr int N = per_access<T>(), CHUNKS = DIM / N;
        using Lanes = Spread<CHUNKS>;
        const Place<T, DIM> place(Lanes::row(), Lanes::chunk());
#pragma unroll 4
        for (int r = 0; r < ROWS; r += Lanes::AT_ONCE) {
            const T* from = query(r + Lanes::row());
#pragma unroll
            for (int c = 0; c < CHUNKS; c += Lanes::LANES) {
                const int column = (c + Lanes::chunk()) * N;
                char* to = memory + place.at(r, c);
                if (column >= DIM) continue;
                if (APART) {
#pragma unroll
                    for (int i = 0; i < N; ++i)
                        reinterpret_cast<T*>(to)[i] = column + i < head_dim ? from[column + i] : narrow<T>(0.0f);
                } else {
                    copy_async(shared_address(to), from + column, column < head_dim);
                }
            }
        }
    }

    __device__ __forceinline__ void take(uint32_t (&to)[4], int t, int d) const {
        const int lane = threadIdx.x % 32;
        const Place<T, DIM> place(lane % TILE_ROWS, lane / TILE_ROWS);
        load_matrices(to, shared_address(memory) + place.at(t * TILE_ROWS, d * 2));
    }
};

// Of f16 or bf16.
template <typename T, int DIM, int TILES> struct Held {
    uint32_t pairs[TILES][DIM / 16][4];

    __device__ __forceinline__ explicit Held(const Kept<T, DIM, TILES>& kept) {
#pragma unroll
        for (int t = 0; t < TILES; ++t) {
#pragma unroll
            for (int d = 0; d < DIM / 16; ++d) kept.take(pairs[t][d], t, d);
        }
    }

    __device__ __forceinline__ void take(uint32_t (&to)[4], int t, int d) const {
#pragma unroll
        for (int i = 0; i < 4; ++i) to[i] = pairs[t][d][i];
    }
};

template <bool HELD, typename T, int DIM, int TILES> struct Choose { using Type = Kept<T, DIM, TILES>; };
template <typename T, int DIM, int TILES> struct Choose<true, T, DIM, TILES> { using Type = Held<T, DIM, TILES>; };
