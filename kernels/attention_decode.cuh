// attention_decode: causal attention of sequences with one row over the paged cache, split along the context.
//
// Grid: (splits, kv_heads * tiles, sequences) with tiles = ceil(group / 16); WARPS * 32 threads. A block takes
// up to 16 query heads of one kv head over one split; each of its warps takes every WARPS-th KEYS of the
// split's keys, with tiles of its own, so that warps wait for nobody until they merge. How many of the grid's splits
// a sequence uses follows from its context alone (`Splits`): a captured launch serves growing contexts. With one
// split the result goes to `out`; with more, each block leaves its part, and the last to come merges them.
//
// Moves: each sequence's keys and values once (for each 16 heads of a group), q and out once, and twice
// 4 * (head_dim + 2) bytes for each head and used split, if more than one is.
// Shared memory: 16 queries, then for each warp a tile of keys and one of values.
#pragma once

#include "attention_merge.cuh"
#include "chain.cuh"

// Wide heads leave room for the tiles of two.
template <typename T, int DIM> struct DecodeShape {
    static constexpr bool EXACT = same<T, float>;
    static constexpr int WARPS = DIM > 128 ? 2 : 4, KEYS = EXACT ? 8 : 16;
    using Queries = typename Choose<!EXACT, T, DIM, 1>::Type;
};

template <typename T, typename C, int DIM, bool APART>
__device__ __forceinline__ void attention_decode(const Attention<T, C>& a, const Parts& parts) {
    using Shape = DecodeShape<T, DIM>;
    using Rows = Kept<T, DIM, 1>;
    constexpr int KEYS = Shape::KEYS, WARPS = Shape::WARPS, STRIDE = WARPS * KEYS;
    using KeyTiles = Tiles<T, C, DIM, KEYS, 1, APART>;
    extern __shared__ __align__(128) char shared[];

    begin_next();
    Packed rows;
    rows.sequence = blockIdx.z;
    rows.row = a.query_offsets[rows.sequence];
    const bool is_one_row = static_cast<int>(a.query_offsets[rows.sequence + 1]) - rows.row == 1;
    const Splits splits(a.context_lens[rows.sequence], a.window, gridDim.x);
    if (!is_one_row || static_cast<int>(blockIdx.x) >= splits.used) return await_front();
    rows.group = rows.count = a.group();
    const int tiles_of_group = (rows.group + TILE_ROWS - 1) / TILE_ROWS;
    rows.kv_head = blockIdx.y / tiles_of_group;
    rows.first = blockIdx.y % tiles_of_group * TILE_ROWS;

    const int warp = threadIdx.x / 32;
    const int begin = splits.first + blockIdx.x * splits.tokens, end = min(begin + splits.tokens, splits.end);
    const KeyTiles tiles(shared + Rows::BYTES + warp * KeyTiles::BYTES, a);
    const Pages pages = KeyTiles::pages(a, rows, end);
    const int own = warp * KEYS + KeyTiles::own_row();
    uint32_t source = pages.row(begin + own);
    await_front();
    tiles.fetch_keys(source);
    const Rows kept = {shared};
    if (warp == 0) {
        const int first_head = rows.head_of(rows.first), heads = rows.count - rows.first;
        const T* queries = a.qkv + rows.row * a.qkv_width();
        const auto query = [&](int i) { return queries + (first_head + min(i, heads - 1)) * a.head_dim; };
        kept.template fetch<APART>(query, a.head_dim);
    }
    commit_copies();
    tiles.fetch_values(source);
    commit_copies();
    await_copies<1>();
    __syncthreads();
    const typename Shape::Queries q(kept);

    Running<DIM, 1> running;
    // As many passes for all warps, the last of which may be of keys beyond the end: a warp's own number of passes
    // would be one that the compiler takes to differ between lanes.
    for (int first = begin; first < end; first += STRIDE) {
        await_copies<1>();
        tiles.settle_keys();
        __syncwarp();
        float scores[1][KEYS / 8][4];
        score<T, DIM, KEYS>(scores, q, tiles.keys());
        __syncwarp();
        const bool more = first + STRIDE < end;
        source = pages.row(first + STRIDE + own);
        if (more) tiles.fetch_keys(source);
        commit_copies();
        if (first + STRIDE > end) mask(scores, first + warp * KEYS, [&](int, int) { return end - 1; }, 1u << 31);
        running.weights(scores, a.scale);
        await_copies<1>();
        tiles.settle_values();
        __syncwarp();
        weigh<T, DIM, KEYS>(running.out, scores, tiles.values());
        __syncwarp();
        if (more) tiles.fetch_values(source);
        commit_copies();
    }
    await_copies<0>();
    running.finish();
    // Each warp leaves its sums where its tiles were.
    char* memory = shared + Rows::BYTES;
    static_assert(KeyTiles::BYTES >= TILE_ROWS * DIM * sizeof(float));
    static_assert(WARPS * KeyTiles::BYTES >= MOST_SPLITS * TILE_ROWS * 2 * sizeof(float));
    merge_warps<T, C, DIM, WARPS>(a, rows, running, memory, KeyTiles::BYTES, splits, parts);
    if (splits.used > 1) merge_splits<T, C, DIM, WARPS>(a, rows, memory, splits, parts);
}

#define EXPORT_DECODE(NAME, DIM, T, C, APART)                                                            \
    extern "C" __global__ void __launch_bounds__(DecodeShape<T, DIM>::WARPS * 32)                         \
        attention_decode_##NAME##_##T##_##C(ATTENTION_PARAMETERS(T, C), float* sums, float* units,        \
                                            uint32_t* arrived) {                                          \
        attention_decode<T, C, DIM, APART>(ATTENTION_ARGUMENTS, {sums, units, arrived});                  \
    }
