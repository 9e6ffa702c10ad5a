// attention_prefill: causal attention of sequences with several rows over the paged cache.
//
// Grid: (rows * group / ROWS + sequences, kv_heads); PREFILL_WARPS * 32 threads. A block takes ROWS packed rows of
// one sequence and kv head, 16 or 32 a warp, over all keys that one of them sees; the warps share each tile of keys. The
// tiles of sequence s begin at query_offsets[s] * group / ROWS + s, which leaves room for all of them, so no list of
// tiles is needed; blocks without rows leave. Later tiles see more keys, and start first.
//
// Moves: q and out once, keys and values once for each ROWS / group rows. What bounds it is arithmetic:
// 4 * head_dim operations for each head, row and key.
// Shared memory: ROWS queries, then a tile of keys and one of values.
#pragma once

#include "attention_softmax.cuh"

template <typename T> constexpr int PREFILL_WARPS = same<T, float> ? 2 : 4;
// Rows of a warp, in tiles of 16. Two tiles halve what is read of keys and values in shared memory, whose rate would
// bound the tensor cores; wider heads have no registers for a second.
template <typename T, int DIM> constexpr int PREFILL_TILES = same<T, float> || DIM > 128 ? 1 : 2;
// So few that registers and the 99 KiB which a block has on every GPU since compute capability 8.6 suffice.
template <typename T, int DIM> constexpr int PREFILL_KEYS = same<T, float> ? 16 : DIM > 80 ? 32 : 64;

template <typename T, typename C, int DIM>
__device__ __forceinline__ void attention_prefill(const Attention<T, C>& a) {
    constexpr int WARPS = PREFILL_WARPS<T>, KEYS = PREFILL_KEYS<T, DIM>;
    constexpr int TILES = PREFILL_TILES<T, DIM>, OWN = TILES * TILE_ROWS, ROWS = WARPS * OWN;
    extern __shared__ __align__(16) char shared[];

    Packed rows;
    rows.group = a.group();
    const int block = gridDim.x - 1 - blockIdx.x;
    const auto start = [&](int s) { return static_cast<int>(a.query_offsets[s]) * rows.group / ROWS + s; };
    int beyond = a.sequences;
    rows.sequence = 0;
    while (beyond - rows.sequence > 1) {
        const int middle = (rows.sequence + beyond) / 2;
        if (start(middle) <= block) rows.sequence = middle;
        else beyond = middle;
    }
    rows.row = a.query_offsets[rows.sequence];
    const int length = static_cast<int>(a.query_offsets[rows.sequence + 1]) - rows.row;
    rows.count = length * rows.group;
    rows.first = (block - start(rows.sequence)) * ROWS;
    if (length <= 1 || rows.first >= rows.count) return;
    rows.kv_head = blockIdx.y;
    rows.position = static_cast<int>(a.context_lens[rows.sequence]) - length;

    T* q = reinterpret_cast<T*>(shared);
    load_queries<DIM, ROWS>(a, rows, q);
    __syncthreads();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const auto own = [&](int t, int r) { return rows.first + warp * OWN + t * TILE_ROWS + r * 8 + lane / 4; };
    Span spans[TILES][2];
#pragma unroll
    for (int t = 0; t < TILES; ++t) {
#pragma unroll
        for (int r = 0; r < 2; ++r) spans[t][r] = seen(rows.position_of(own(t, r)), a.window);
    }
    const int begin = seen(rows.position_of(rows.first), a.window).from;
    const int end = rows.position_of(rows.first + ROWS - 1) + 1;
    Running<DIM, TILES> running;
    pass_over_keys<T, C, DIM, KEYS, WARPS>(running, a, rows, q + warp * OWN * STRIDE<T, DIM>,
                                           shared + ROWS * STRIDE<T, DIM> * sizeof(T), begin, end, KEYS, spans);
    running.finish();
#pragma unroll
    for (int t = 0; t < TILES; ++t) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int packed = own(t, r);
            if (packed >= rows.count) continue;
            const float factor = 1.0f / running.sum[t][r];
            const size_t head = static_cast<size_t>(rows.row_of(packed)) * a.heads + rows.head_of(packed);
#pragma unroll
            for (int j = 0; j < DIM / 8; ++j) {
                const int column = j * 8 + lane % 4 * 2;
                if (column >= a.head_dim) continue;
                const float* two = running.out[t][j] + 2 * r;
                *reinterpret_cast<Vector<T, 2>*>(a.out + head * a.head_dim + column) =
                    {narrow<T>(two[0] * factor), narrow<T>(two[1] * factor)};
            }
        }
    }
}

#define EXPORT_PREFILL(DIM, T, C)                                                       \
    extern "C" __global__ void __launch_bounds__(PREFILL_WARPS<T> * 32)                 \
        attention_prefill_##DIM##_##T##_##C(ATTENTION_PARAMETERS(T, C)) {               \
        attention_prefill<T, C, DIM>(ATTENTION_ARGUMENTS);                              \
    }
