// attention_decode: causal attention of sequences with one row over the paged cache, split along the context.
//
// Grid: (splits, kv_heads * tiles, sequences) with tiles = ceil(group / 16); WARPS * 32 threads. A block takes
// up to 16 query heads of one kv head over one split; each of its warps takes every WARPS-th KEYS of the
// split's keys, with tiles of its own, so that warps wait for nobody until they merge. How many of the grid's splits
// a sequence uses follows from its context alone (`Splits`): a captured launch serves growing contexts. With one
// split the result goes to `out`; with more, the weighted sums go to `sums` [sequences, splits, heads, head_dim] and
// their peaks and totals to `units` [sequences, splits, heads, 2], for attention_reduce.
//
// Moves: each sequence's keys and values once (for each 16 heads of a group), q and out once, and 8 * (head_dim + 2)
// bytes for each head and used split, if more than one is.
// Shared memory: 16 queries, then for each warp a tile of keys and one of values.
#pragma once

#include "attention_softmax.cuh"

// Wide heads leave room for the tiles of two.
template <int DIM> constexpr int DECODE_WARPS = DIM > 128 ? 2 : 4;

template <typename T, typename C, int DIM>
__device__ __forceinline__ void attention_decode(const Attention<T, C>& a, float* sums, float* units) {
    constexpr int KEYS = same<T, float> ? 8 : 16, WARPS = DECODE_WARPS<DIM>;
    constexpr int TILES = 2 * Tile<T, C, DIM, KEYS, 1>::BYTES;
    constexpr int PART = STRIDE<T, DIM>;
    static_assert(TILES >= TILE_ROWS * PART * static_cast<int>(sizeof(float)));
    extern __shared__ __align__(16) char shared[];
    __shared__ float peaks[WARPS][TILE_ROWS], totals[WARPS][TILE_ROWS];

    Packed rows;
    rows.sequence = blockIdx.z;
    rows.row = a.query_offsets[rows.sequence];
    if (static_cast<int>(a.query_offsets[rows.sequence + 1]) - rows.row != 1) return;
    const int context = a.context_lens[rows.sequence];
    const Splits splits(context, a.window, gridDim.x);
    if (static_cast<int>(blockIdx.x) >= splits.used) return;
    rows.group = rows.count = a.group();
    const int tiles = (rows.group + TILE_ROWS - 1) / TILE_ROWS;
    rows.kv_head = blockIdx.y / tiles;
    rows.first = blockIdx.y % tiles * TILE_ROWS;
    rows.position = context - 1;

    T* q = reinterpret_cast<T*>(shared);
    load_queries<DIM, TILE_ROWS>(a, rows, q);
    __syncthreads();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    char* own = shared + TILE_ROWS * STRIDE<T, DIM> * sizeof(T) + warp * TILES;
    const int begin = splits.first + blockIdx.x * splits.tokens;
    const int end = min(begin + splits.tokens, splits.end);
    const Span spans[1][2] = {{{begin, end}, {begin, end}}};
    Running<DIM, 1> running;
    pass_over_keys<T, C, DIM, KEYS, 1>(running, a, rows, q, own, begin + warp * KEYS, end, WARPS * KEYS, spans);
    running.finish();

    // Each warp leaves its sums where its tiles were.
    float* left = reinterpret_cast<float*>(own);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int row = lane / 4 + r * 8;
        if (lane % 4 == 0) {
            peaks[warp][row] = running.peak[0][r];
            totals[warp][row] = running.sum[0][r];
        }
#pragma unroll
        for (int j = 0; j < DIM / 8; ++j) {
            *reinterpret_cast<Vector<float, 2>*>(left + row * PART + j * 8 + lane % 4 * 2) =
                {running.out[0][j][2 * r], running.out[0][j][2 * r + 1]};
        }
    }
    __syncthreads();
    const int heads = min(TILE_ROWS, rows.count - rows.first);
    const float* parts = reinterpret_cast<const float*>(shared + TILE_ROWS * STRIDE<T, DIM> * sizeof(T));
    for (int at = threadIdx.x; at < heads * DIM; at += blockDim.x) {
        const int row = at / DIM, column = at % DIM;
        if (column >= a.head_dim) continue;
        float peak = peaks[0][row];
#pragma unroll
        for (int w = 1; w < WARPS; ++w) peak = fmaxf(peak, peaks[w][row]);
        float total = 0.0f, sum = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) {
            const float weight = power_of_2(peaks[w][row] - peak);
            total = fmaf(weight, totals[w][row], total);
            sum = fmaf(weight, parts[w * (TILES / static_cast<int>(sizeof(float))) + row * PART + column], sum);
        }
        const int head = rows.head_of(rows.first + row);
        if (splits.used == 1) {
            a.out[(static_cast<size_t>(rows.row) * a.heads + head) * a.head_dim + column] = narrow<T>(sum / total);
        } else {
            const size_t part = (static_cast<size_t>(rows.sequence) * gridDim.x + blockIdx.x) * a.heads + head;
            sums[part * a.head_dim + column] = sum;
            if (column == 0) *reinterpret_cast<Vector<float, 2>*>(units + part * 2) = {peak, total};
        }
    }
}

#define EXPORT_DECODE(DIM, T, C)                                                                               \
    extern "C" __global__ void __launch_bounds__(DECODE_WARPS<DIM> * 32)                                            \
        attention_decode_##DIM##_##T##_##C(ATTENTION_PARAMETERS(T, C), float* sums, float* units) {            \
        attention_decode<T, C, DIM>(ATTENTION_ARGUMENTS, sums, units);                                         \
    }
