// Tiles of keys or values in shared memory: KEYS rows of DIM, columns beyond head_dim zero.
#pragma once

#include "attention_rows.cuh"
#include "attention_widen.cuh"

// Copies 16 bytes behind the thread's back, or writes zeros where there are none.
__device__ __forceinline__ void copy_async(uint32_t to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most `PENDING` of this thread's groups are under way.
template <int PENDING> __device__ __forceinline__ void await_copies() {
    asm volatile("cp.async.wait_group %0;" :: "n"(PENDING) : "memory");
}

// Where one sequence's tokens lie in the cache.
struct Pages {
    const uint32_t* tables;
    uint32_t own, block_size, token, kv_head;
    // (2^32 - 1) / block_size: division by it is a product, right while token * block_size is below 2^32.
    uint32_t inverse;
    int last;

    // In units of which a row of head_dim has `units`.
    template <typename T, typename C>
    __device__ __forceinline__ Pages(const Attention<T, C>& a, const Packed& rows, uint32_t units, int end)
        : tables(a.block_tables), own(rows.sequence * a.max_blocks), block_size(a.block_size),
          token(a.kv_heads * units), kv_head(rows.kv_head * units), inverse(0xffffffffu / a.block_size),
          last(end - 1) {}

    // Where a token's row begins. Those behind the last have its row: what they weigh is 0.
    __device__ __forceinline__ uint32_t row(int at) const {
        const uint32_t there = min(at, last), page = __umulhi(there + 1, inverse);
        return (tables[own + page] * block_size + (there - page * block_size)) * token + kv_head;
    }
};

// A tile of keys and one of values. Each of the WARPS that share them brings ROWS of each, which its lanes know, one
// each. APART: element by element, from caches of any type and rows that are no whole accesses.
template <typename T, typename C, int DIM, int KEYS, int WARPS, bool APART> class Tiles {
    using Rows = Layout<T, DIM>;
    static constexpr int ROWS = KEYS / WARPS;
    static_assert(ROWS <= 32 && ROWS % 8 == 0);
    // An e4m3 cache arrives as it is, and is widened in shared memory: so its copies too need no registers.
    static constexpr bool STAGED = same<C, e4m3> && !APART;
    static constexpr int TILE = KEYS * (Rows::ROW + (STAGED ? DIM : 0)), RAW = KEYS * Rows::ROW;
    static constexpr int COPIES = DIM / per_access<C>();
    using Lanes = Spread<APART ? 32 : COPIES>;

    char* memory;
    const Attention<T, C>& a;
    // Where the lane's first copy goes.
    uint32_t to;

    static __device__ __forceinline__ int first() { return threadIdx.x / 32 % WARPS * ROWS; }

    // `tile` bytes behind the first.
    __device__ __forceinline__ void fetch(const C* cache, int tile, uint32_t source) const {
        const uint32_t width = a.head_dim * static_cast<uint32_t>(sizeof(C));
        if constexpr (APART) {
            for (int r = 0; r < ROWS; ++r) {
                const C* from = cache + static_cast<size_t>(__shfl_sync(0xffffffffu, source, r)) * a.head_dim;
                for (int column = threadIdx.x % 32; column < DIM; column += 32) {
                    const float value = column < a.head_dim ? widen(from[column]) : 0.0f;
                    const Place<T, DIM> place(first() + r, column / per_access<T>());
                    reinterpret_cast<T*>(memory + tile + place.start)[column % per_access<T>()] = narrow<T>(value);
                }
            }
        } else {
#pragma unroll
            for (int r = 0; r < ROWS; r += Lanes::AT_ONCE) {
                const uint32_t row = __shfl_sync(0xffffffffu, source, r / Lanes::AT_ONCE, Lanes::LANES);
                const uint32_t from = row + Lanes::chunk();
#pragma unroll
                for (int c = 0; c < COPIES; c += Lanes::LANES) {
                    const uint32_t at = STAGED ? to + r * DIM + c * 16 : Place<T, DIM>::moved(to, r, c);
                    const int chunk = c + Lanes::chunk();
                    if (chunk < COPIES)
                        copy_async(at + tile, reinterpret_cast<const uint4*>(cache) + (from + c), chunk * 16 < width);
                }
            }
        }
    }

    // Makes of what this warp fetched rows of T; its copies are done.
    __device__ __forceinline__ void settle(char* tile) const {
        if constexpr (STAGED) {
            __syncwarp();
            constexpr int N = per_access<T>();
            using Wide = Spread<Rows::CHUNKS>;
            const Place<T, DIM> place(Wide::row(), Wide::chunk());
            const char* raw = tile + RAW + (first() + Wide::row()) * DIM + Wide::chunk() * N;
            char* rows = tile + first() * Rows::ROW;
            // Registers are full.
#pragma unroll 2
            for (int r = 0; r < ROWS; r += Wide::AT_ONCE) {
#pragma unroll
                for (int c = 0; c < Rows::CHUNKS; c += Wide::LANES) {
                    if (c + Wide::chunk() >= Rows::CHUNKS) continue;
                    const auto from = *reinterpret_cast<const Vector<uint16_t, N / 2>*>(raw + r * DIM + c * N);
                    Vector<T, N> to;
#pragma unroll
                    for (int i = 0; i < N; i += 2) {
                        const Vector<T, 2> two = from_pair<T>(from.at[i / 2]);
                        to.at[i] = two.at[0];
                        to.at[i + 1] = two.at[1];
                    }
                    *reinterpret_cast<Vector<T, N>*>(rows + place.at(r, c)) = to;
                }
            }
        }
    }

public:
    static constexpr int BYTES = 2 * TILE;

    __device__ __forceinline__ Tiles(char* memory, const Attention<T, C>& a)
        : memory(memory), a(a), to(shared_address(memory)) {
        to += STAGED ? RAW + (first() + Lanes::row()) * DIM + Lanes::chunk() * 16
                     : first() * Rows::ROW + Place<T, DIM>(Lanes::row(), Lanes::chunk()).start;
        // Else the compiler finds it anew for each copy.
        asm volatile("" : "+r"(to));
    }

    // Which row a lane must know: those that share chunks find theirs at the same place among themselves.
    static __device__ __forceinline__ int own_row() {
        return first() + (Lanes::chunk() * Lanes::AT_ONCE + Lanes::row()) % ROWS;
    }

    static __device__ __forceinline__ Pages pages(const Attention<T, C>& a, const Packed& rows, int end) {
        return Pages(a, rows, APART ? 1 : a.head_dim * sizeof(C) / 16, end);
    }

    // Begin to bring this warp's rows, of which a lane has where its own begins in `source`.
    __device__ __forceinline__ void fetch_keys(uint32_t source) const { fetch(a.k, 0, source); }
    __device__ __forceinline__ void fetch_values(uint32_t source) const { fetch(a.v, TILE, source); }

    // What this warp fetched is there for it; for the others once they have met.
    __device__ __forceinline__ void settle_keys() const { settle(memory); }
    __device__ __forceinline__ void settle_values() const { settle(memory + TILE); }

    __device__ __forceinline__ char* keys() const { return memory; }
    __device__ __forceinline__ char* values() const { return memory + TILE; }
};
