// attention_prefill: causal attention of sequences with several rows over the paged cache.
//
// Grid: (rows * group / ROWS + sequences, kv_heads); PREFILL_WARPS * 32 threads. A block takes ROWS packed rows of
// one sequence and kv head, 16 a warp, over all keys that one of them sees; the warps share each tile of keys. The
// tiles of sequence s begin at query_offsets[s] * group / ROWS + s, which leaves room for all of them, so no list of
// tiles is needed; blocks without rows leave. Later tiles see more keys, and start first.
//
// Moves: q and out once, keys and values once for each ROWS / group rows. What bounds it is arithmetic:
// 4 * head_dim operations for each head, row and key.
// Shared memory: ROWS queries, then a tile of keys and one of values.
#pragma once

#include "attention_softmax.cuh"

template <typename T> constexpr int PREFILL_WARPS = same<T, float> ? 2 : 4;
// What lets a tile of each kind lie in the 99 KiB that a block has on every GPU since compute capability 8.6.
template <typename T, int DIM> constexpr int PREFILL_KEYS = (same<T, float> ? 32 : 64) / (DIM > 128 ? 2 : 1);

template <typename T, typename C, int DIM>
__device__ __forceinline__ void attention_prefill(const Attention<T, C>& a) {
    constexpr int WARPS = PREFILL_WARPS<T>, KEYS = PREFILL_KEYS<T, DIM>, ROWS = WARPS * TILE_ROWS;
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
    const int own = rows.first + warp * TILE_ROWS + lane / 4;
    const Span spans[2] = {seen(rows.position_of(own), a.window), seen(rows.position_of(own + 8), a.window)};
    const int begin = seen(rows.position_of(rows.first), a.window).from;
    const int end = rows.position_of(rows.first + ROWS - 1) + 1;
    Running<DIM> running;
    pass_over_keys<T, C, DIM, KEYS, WARPS>(running, a, rows, q + warp * TILE_ROWS * STRIDE<T, DIM>,
                                           shared + ROWS * STRIDE<T, DIM> * sizeof(T), begin, end, KEYS, spans);
    running.finish();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int packed = own + r * 8;
        if (packed >= rows.count) continue;
        const float factor = 1.0f / running.sum[r];
        const size_t first = static_cast<size_t>(rows.row_of(packed)) * a.heads + rows.head_of(packed);
#pragma unroll
        for (int j = 0; j < DIM / 8; ++j) {
            const int column = j * 8 + lane % 4 * 2;
            if (column >= a.head_dim) continue;
            *reinterpret_cast<Vector<T, 2>*>(a.out + first * a.head_dim + column) =
                {narrow<T>(running.out[j][2 * r] * factor), narrow<T>(running.out[j][2 * r + 1] * factor)};
        }
    }
}

#define EXPORT_PREFILL(DIM, T, C)                                                       \
    extern "C" __global__ void __launch_bounds__(PREFILL_WARPS<T> * 32)                 \
        attention_prefill_##DIM##_##T##_##C(ATTENTION_PARAMETERS(T, C)) {               \
        attention_prefill<T, C, DIM>(ATTENTION_ARGUMENTS);                              \
    }
