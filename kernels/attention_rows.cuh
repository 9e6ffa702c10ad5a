// How rows of DIM elements lie in shared memory: one behind the other, the 16-byte chunks of each in an order of its
// own, so that eight rows that are read together lie in different banks. Padding would do that too, and takes room.
#pragma once

#include "attention.cuh"

// With CHUNK = 32, eight bytes from each of four lanes, four such rows.
template <typename T, int DIM, int CHUNK = 16> struct Layout {
    static constexpr int ROW = DIM * sizeof(T), CHUNKS = ROW / CHUNK, FILL = 128 / CHUNK;
    // Of FILL rows in order, how many begin in the same bank: a power of 2 that divides CHUNKS.
    static constexpr int SHARE = CHUNKS % FILL == 0 ? FILL : CHUNKS % 4 == 0 ? 4 : CHUNKS % 2 == 0 ? 2 : 1;

    // Chunk c of a row lies where c ^ twist(row) would.
    static __device__ __forceinline__ constexpr int twist(int row) { return row / (FILL / SHARE) % SHARE; }
};

// A chunk that a lane has, and its distance from others. Of the three low bits of `row` and of `chunk`, those that are
// set in the lane's own may not be set in what is added: so no sum carries, and constants stay constants.
template <typename T, int DIM, int CHUNK = 16> struct Place {
    using L = Layout<T, DIM, CHUNK>;
    int start;

    __device__ __forceinline__ Place(int row, int chunk) : start(row * L::ROW + (chunk ^ L::twist(row)) * CHUNK) {}

    // Bytes from the first row's begin.
    __device__ __forceinline__ int at(int row, int chunk) const { return moved(start, row, chunk); }

    // `start` may have what begins at a multiple of SHARE chunks before it.
    static __device__ __forceinline__ int moved(int start, int row, int chunk) {
        const int low = chunk % L::SHARE;
        return (start ^ (low ^ L::twist(row)) * CHUNK) + (chunk - low) * CHUNK + row * L::ROW;
    }
};

// How 32 lanes share rows of CHUNKS chunks: a power of 2 of them to a row, AT_ONCE rows; a lane has the same chunks of
// each of its rows.
template <int CHUNKS> struct Spread {
    static constexpr int LANES = CHUNKS > 16 ? 32 : CHUNKS > 8 ? 16 : CHUNKS > 4 ? 8 : 4;
    static constexpr int AT_ONCE = 32 / LANES;

    static __device__ __forceinline__ int row() { return threadIdx.x % 32 / LANES; }
    static __device__ __forceinline__ int chunk() { return threadIdx.x % LANES; }
};

__device__ __forceinline__ uint32_t shared_address(const void* at) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// Four matrices of 8 x 8 of 16 bits, a row of 16 bytes at each lane's address.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(at) : "memory");
}

__device__ __forceinline__ void load_transposed(uint32_t (&to)[4], uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(at) : "memory");
}
