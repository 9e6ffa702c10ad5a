// attention_prefill: causal attention of sequences with several rows over the paged cache.
//
// Grid: (rows * group / ROWS + sequences) * kv_heads blocks; WARPS * 32 threads. A block takes ROWS packed rows of
// one sequence and kv head, 16 or 32 a warp, over all keys that one of them sees; the warps share each tile of keys.
// The tiles of sequence s begin at query_offsets[s] * group / ROWS + s, which leaves room for all of them, so no list
// of tiles is needed; blocks without rows leave. Later tiles see more keys: those of all heads start first, so that
// what is left for the end is small.
//
// Moves: q and out once, keys and values once for each ROWS / group rows. What bounds it is arithmetic:
// 4 * head_dim operations for each head, row and key.
// Shared memory: the warps' queries, if they do not pass through that of the values, then a tile of keys and one of
// values.
#pragma once

#include "attention_softmax.cuh"
#include "chain.cuh"

// Tall blocks have 32 rows a warp in place of 16, which halves what is read of keys and values in shared memory, whose
// rate would bound the tensor cores of large GPUs; wider heads have no registers for it. Short ones are twice as many,
// and two have room where tall ones have not.
template <typename T, int DIM, bool TALL> struct PrefillShape {
    static constexpr bool EXACT = same<T, float>;
    static_assert(!TALL || (!EXACT && DIM <= 128));
    static constexpr int WARPS = EXACT ? 2 : 4, TILES = TALL ? 2 : 1;
    static constexpr int OWN = TILES * TILE_ROWS, ROWS = WARPS * OWN;
    static constexpr int KEYS = EXACT ? 16 : DIM > 128 ? 32 : 64;
    // Registers for the queries: 16 of each tile and 64 columns. They pass through the memory of the first values,
    // where those are as many.
    static constexpr bool HELD = !EXACT && TILES * DIM <= 160, PASS = HELD && ROWS <= KEYS;
    using Queries = typename Choose<HELD, T, DIM, TILES>::Type;
};

template <typename T, typename C, int DIM, bool TALL, bool APART>
__device__ __forceinline__ void attention_prefill(const Attention<T, C>& a) {
    using Shape = PrefillShape<T, DIM, TALL>;
    constexpr int WARPS = Shape::WARPS, KEYS = Shape::KEYS, TILES = Shape::TILES, ROWS = Shape::ROWS;
    using KeyTiles = Tiles<T, C, DIM, KEYS, WARPS, APART>;
    using Rows = Kept<T, DIM, TILES>;
    extern __shared__ __align__(128) char shared[];
    join_chain();
    // Row and head of each packed row; beyond the last, of that one: it is computed again, and not written.
    __shared__ Vector<int, 2> places[ROWS];

    Packed rows;
    rows.group = a.group();
    const int block = (gridDim.x - 1 - blockIdx.x) / a.kv_heads;
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
    rows.kv_head = blockIdx.x % a.kv_heads;
    rows.position = static_cast<int>(a.context_lens[rows.sequence]) - length;

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, there = rows.count - rows.first;
    for (int i = threadIdx.x; i < ROWS; i += WARPS * 32) {
        const int packed = min(rows.first + i, rows.count - 1);
        places[i] = {rows.row_of(packed), rows.head_of(packed)};
    }
    const KeyTiles tiles(shared + (Shape::PASS ? 0 : WARPS * Rows::BYTES), a);
    __syncthreads();
    const int begin = seen(rows.position_of(rows.first), a.window).from;
    const int end = rows.position_of(rows.first + ROWS - 1) + 1;
    const Pages pages = KeyTiles::pages(a, rows, end);
    const int own_row = KeyTiles::own_row();
    uint32_t source = pages.row(begin + own_row);
    tiles.fetch_keys(source);
    const int first_row = warp * Shape::OWN;
    const auto query = [&](int i) {
        const auto place = places[first_row + i];
        return a.qkv + place.at[0] * a.qkv_width() + place.at[1] * a.head_dim;
    };
    const Rows kept = {(Shape::PASS ? tiles.values() : shared) + warp * Rows::BYTES};
    kept.template fetch<APART>(query, a.head_dim);
    commit_copies();

    const auto own = [&](int t, int r) { return first_row + t * TILE_ROWS + r * 8 + lane / 4; };
    const int ahead = rows.position - rows.row;
    const auto position = [&](int i) { return places[i].at[0] + ahead; };
    const uint32_t width = a.window == 0 ? 1u << 31 : a.window;
    // What all of the warp's rows see.
    const int last_row = first_row + Shape::OWN - 1;
    const Span common = {seen(position(last_row), a.window).from, position(first_row) + 1};
    await_copies<0>();
    __syncwarp();
    const typename Shape::Queries q(kept);
    Running<DIM, TILES> running;
    // While one tile is worked on, the next is on its way. Two meetings of the warps a pass: when the keys are there
    // the values before them are done with, and the other way round.
    for (int first = begin; first < end; first += KEYS) {
        await_copies<0>();
        tiles.settle_keys();
        __syncthreads();
        tiles.fetch_values(source);
        commit_copies();
        source = pages.row(first + KEYS + own_row);
        float scores[TILES][KEYS / 8][4];
        score<T, DIM, KEYS>(scores, q, tiles.keys());
        await_copies<0>();
        tiles.settle_values();
        __syncthreads();
        if (first + KEYS < end) tiles.fetch_keys(source);
        commit_copies();
        if (first < common.from || first + KEYS > common.to)
            mask(scores, first, [&](int t, int r) { return position(own(t, r)); }, width);
        running.weights(scores, a.scale);
        weigh<T, DIM, KEYS>(running.out, scores, tiles.values());
    }
    running.finish();
#pragma unroll
    for (int t = 0; t < TILES; ++t) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            if (own(t, r) >= there) continue;
            const float factor = 1.0f / running.sum[t][r];
            const auto place = places[own(t, r)];
            T* out = a.out + (static_cast<size_t>(place.at[0]) * a.heads + place.at[1]) * a.head_dim;
#pragma unroll
            for (int j = 0; j < DIM / 8; ++j) {
                const int column = j * 8 + lane % 4 * 2;
                if (column >= a.head_dim) continue;
                const float* two = running.out[t][j] + 2 * r;
                *reinterpret_cast<Vector<T, 2>*>(out + column) =
                    {narrow<T>(two[0] * factor), narrow<T>(two[1] * factor)};
            }
        }
    }
}

#define EXPORT_PREFILL(NAME, DIM, T, C, TALL, APART)                                                    \
    extern "C" __global__ void __launch_bounds__(PrefillShape<T, DIM, TALL>::WARPS * 32, 2)              \
        attention_prefill_##NAME##_##T##_##C(ATTENTION_PARAMETERS(T, C)) {                               \
        attention_prefill<T, C, DIM, TALL, APART>(ATTENTION_ARGUMENTS);                                  \
    }
