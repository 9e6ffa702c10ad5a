// Tiles of queries, keys and values in shared memory: [rows, DIM + 16 bytes] of T, columns beyond head_dim zero.
// The 16 bytes put eight rows that are read together into different banks.
#pragma once

#include "attention.cuh"

template <typename T, int DIM> constexpr int STRIDE = DIM + per_access<T>();

__device__ __forceinline__ uint32_t shared_address(const void* at) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// Copies 16 bytes behind the thread's back, or writes zeros where there are none.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0) : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most `PENDING` of this thread's groups are under way.
template <int PENDING> __device__ __forceinline__ void await_copies() {
    asm volatile("cp.async.wait_group %0;" :: "n"(PENDING) : "memory");
}

// A team is the warps that share tiles: one of decode, all of the block in prefill.
template <int WARPS> __device__ __forceinline__ void sync_team() {
    if constexpr (WARPS == 1) __syncwarp();
    else __syncthreads();
}

// Two neighbours of an e4m3 cache, the first in the low byte.
__device__ __forceinline__ __half2 widen_pair(uint32_t two) {
#if __CUDA_ARCH__ >= 890
    return __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(two), __NV_E4M3);
#else
    // Exponent and mantissa where f16 has them, then times 2^8 for its other bias: exact, subnormal numbers too.
    const uint32_t spread = (two & 0xff) << 8 | (two & 0xff00) << 16;
    uint32_t bits = (spread & 0x80008000u) | (spread & 0x7f007f00u) >> 1;
    // NaN has all of these bits.
    if ((two & 0x7f) == 0x7f) bits |= 0x7c00u;
    if ((two & 0x7f00) == 0x7f00) bits |= 0x7c000000u;
    return __hmul2(*reinterpret_cast<__half2*>(&bits), __float2half2_rn(256.0f));
#endif
}

template <typename T> __device__ __forceinline__ Vector<T, 2> from_pair(uint32_t two) {
    const __half2 both = widen_pair(two);
    if constexpr (same<T, f16>) {
        return {both.x, both.y};
    } else if constexpr (same<T, bf16>) {
        const __nv_bfloat162 narrowed = __float22bfloat162_rn(__half22float2(both));
        return {narrowed.x, narrowed.y};
    } else {
        const float2 wide = __half22float2(both);
        return {wide.x, wide.y};
    }
}

// Where one sequence's tokens lie in the cache.
struct Pages {
    const uint32_t* table;
    uint32_t block_size, kv_heads, kv_head, head_dim;

    template <typename T, typename C> __device__ Pages(const Attention<T, C>& a, const Packed& rows)
        : table(a.block_tables + static_cast<size_t>(rows.sequence) * a.max_blocks),
          block_size(a.block_size), kv_heads(a.kv_heads), kv_head(rows.kv_head), head_dim(a.head_dim) {}

    // Which of the cache's rows of head_dim a token has; -1 at or beyond `end`.
    __device__ __forceinline__ int row(int token, int end) const {
        if (token >= end) return -1;
        return (table[token / block_size] * block_size + token % block_size) * kv_heads + kv_head;
    }

    __device__ __forceinline__ size_t offset(int row) const {
        return static_cast<size_t>(static_cast<uint32_t>(row)) * head_dim;
    }
};

// KEYS rows of a cache. Each of the team's warps brings ROWS of them, which its lanes know, one each.
template <typename T, typename C, int DIM, int KEYS, int WARPS> struct Tile {
    static constexpr int ROWS = KEYS / WARPS;
    static_assert(ROWS <= 32);
    // An e4m3 cache arrives as it is, and is widened in shared memory: so its copies too need no registers.
    static constexpr bool STAGED = same<C, e4m3>;
    static constexpr bool ASYNC = STAGED || same<T, C>;
    static constexpr int BYTES = KEYS * (STRIDE<T, DIM> * sizeof(T) + (STAGED ? DIM * sizeof(C) : 0));

    T* rows;
    C* raw;

    __device__ explicit Tile(char* memory)
        : rows(reinterpret_cast<T*>(memory)), raw(reinterpret_cast<C*>(memory + KEYS * STRIDE<T, DIM> * sizeof(T))) {}

    static __device__ __forceinline__ bool in_accesses(const Pages& pages) {
        return ASYNC && pages.head_dim * sizeof(C) % 16 == 0;
    }

    // Begins to bring this warp's rows, of which a lane holds one in `source`; -1 stands for zeros.
    __device__ __forceinline__ void fetch(const C* cache, const Pages& pages, int source) {
        const int lane = threadIdx.x % 32, first = threadIdx.x / 32 % WARPS * ROWS;
        if (in_accesses(pages)) {
            constexpr int ACCESSES = DIM / per_access<C>();
#pragma unroll
            for (int start = 0; start < ROWS * ACCESSES; start += 32) {
                const int at = start + lane, row = at / ACCESSES, column = at % ACCESSES * per_access<C>();
                const int from = __shfl_sync(0xffffffffu, source, min(row, ROWS - 1));
                const bool there = from >= 0 && column < pages.head_dim;
                C* to = STAGED ? raw + (first + row) * DIM + column
                               : reinterpret_cast<C*>(rows) + (first + row) * STRIDE<T, DIM> + column;
                if (row < ROWS) copy_async(to, there ? cache + pages.offset(from) + column : cache, there);
            }
        } else {
            for (int row = 0; row < ROWS; ++row) {
                const int from = __shfl_sync(0xffffffffu, source, row);
                for (int column = lane; column < DIM; column += 32) {
                    const bool there = from >= 0 && column < pages.head_dim;
                    const float value = there ? widen(cache[pages.offset(from) + column]) : 0.0f;
                    rows[(first + row) * STRIDE<T, DIM> + column] = narrow<T>(value);
                }
            }
        }
    }

    // What this warp fetched is in `rows`, for the warp that calls; its copies are done.
    __device__ __forceinline__ void settle(const Pages& pages) {
        if constexpr (STAGED) {
            if (!in_accesses(pages)) return;
            __syncwarp();
            constexpr int N = per_access<T>(), ACCESSES = DIM / N;
            const int first = threadIdx.x / 32 % WARPS * ROWS;
#pragma unroll
            for (int at = threadIdx.x % 32; at < ROWS * ACCESSES; at += 32) {
                const int row = first + at / ACCESSES, column = at % ACCESSES * N;
                const auto from = *reinterpret_cast<const Vector<uint16_t, N / 2>*>(raw + row * DIM + column);
                Vector<T, N> to;
#pragma unroll
                for (int i = 0; i < N; i += 2) {
                    const Vector<T, 2> two = from_pair<T>(from.at[i / 2]);
                    to.at[i] = two.at[0];
                    to.at[i + 1] = two.at[1];
                }
                *reinterpret_cast<Vector<T, N>*>(rows + row * STRIDE<T, DIM> + column) = to;
            }
        }
    }
};

// Brings packed rows `first .. first + ROWS` into shared memory, with all threads of the block.
template <int DIM, int ROWS, typename T, typename C>
__device__ __forceinline__ void load_queries(const Attention<T, C>& a, const Packed& rows, T* to) {
    constexpr int N = per_access<T>(), ACCESSES = DIM / N;
    const bool in_accesses = a.head_dim % N == 0;
    for (int at = threadIdx.x; at < ROWS * ACCESSES; at += blockDim.x) {
        const int packed = rows.first + at / ACCESSES, column = at % ACCESSES * N;
        Vector<T, N> values;
#pragma unroll
        for (int i = 0; i < N; ++i) values.at[i] = narrow<T>(0.0f);
        if (packed < rows.count) {
            const T* from = a.qkv + rows.row_of(packed) * a.qkv_width() + rows.head_of(packed) * a.head_dim + column;
            if (in_accesses) {
                if (column < a.head_dim) values = *reinterpret_cast<const Vector<T, N>*>(from);
            } else {
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    if (column + i < a.head_dim) values.at[i] = from[i];
                }
            }
        }
        *reinterpret_cast<Vector<T, N>*>(to + at / ACCESSES * STRIDE<T, DIM> + column) = values;
    }
}
