// What the attention kernels share: their parameters, how query rows are packed, and how contexts are split.
//
// q is the first heads * head_dim columns of each row of qkv [rows, (heads + 2 * kv_heads) * head_dim]; caches are
// [num_blocks, block_size, kv_heads, head_dim]; out is [rows, heads * head_dim]. The query heads of one kv head, its
// group, share its keys: packed row p of a sequence is head p % group of that group, in the sequence's row
// p / group. Sequences with one row belong to decode, longer ones to prefill.
#pragma once

#include "common.cuh"

template <typename A, typename B> constexpr bool same = false;
template <typename A> constexpr bool same<A, A> = true;

// Query rows of one tile of a matrix product, and so of one warp.
constexpr int TILE_ROWS = 16;

template <typename T, typename C> struct Attention {
    const T* qkv;
    const C* k;
    const C* v;
    // [sequences + 1], [sequences], [sequences, max_blocks].
    const uint32_t* query_offsets;
    const uint32_t* context_lens;
    const uint32_t* block_tables;
    T* out;
    uint32_t sequences, max_blocks, block_size, heads, kv_heads, head_dim;
    // 0: no window.
    uint32_t window;
    // log2(e) / sqrt(head_dim): weights are powers of 2.
    float scale;

    __device__ int group() const { return heads / kv_heads; }
    __device__ size_t qkv_width() const { return static_cast<size_t>(heads + 2 * kv_heads) * head_dim; }
};

// Keys [from, to).
struct Span { int from, to; };

// What the token at `position` sees.
__device__ __forceinline__ Span seen(int position, int window) {
    const int to = position + 1;
    return {window != 0 && to > window ? to - window : 0, to};
}

// The packed rows of one sequence and one kv head that a block works on, from `first` on.
struct Packed {
    int sequence, kv_head, group;
    // The sequence's first row in the step, its packed rows, and the position of its first row.
    int row, count, position;
    int first;

    __device__ __forceinline__ int row_of(int packed) const { return row + packed / group; }
    __device__ __forceinline__ int head_of(int packed) const { return kv_head * group + packed % group; }
    // Rows beyond the last see what the last one sees: they are computed, and not written.
    __device__ __forceinline__ int position_of(int packed) const { return position + min(packed, count - 1) / group; }
};

// What one block should have to do at least: one pass of its warps.
constexpr int SPLIT_TOKENS = 64;
// What the last block can merge before others would have been done without it.
constexpr int MOST_SPLITS = 128;

// How many of a grid's splits a sequence of one row uses, and the tokens of each.
struct Splits {
    int first, end, tokens, used;

    __device__ __forceinline__ Splits(int context, int window, int most) {
        const Span span = seen(context - 1, window);
        first = span.from;
        end = span.to;
        const int length = end - first, passes = (length + SPLIT_TOKENS - 1) / SPLIT_TOKENS;
        // As many passes for each, so that no warp is idle but at the end.
        tokens = (passes + most - 1) / most * SPLIT_TOKENS;
        used = (length + tokens - 1) / tokens;
    }
};

__device__ __forceinline__ float power_of_2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#define ATTENTION_PARAMETERS(T, C)                                                                          \
    const T *qkv, const C *k, const C *v, const uint32_t *query_offsets, const uint32_t *context_lens,      \
        const uint32_t *block_tables, T *out, uint32_t sequences, uint32_t max_blocks, uint32_t block_size, \
        uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint32_t window, float scale

#define ATTENTION_ARGUMENTS                                                                                      \
    {qkv, k, v, query_offsets, context_lens, block_tables, out, sequences, max_blocks, block_size, heads, kv_heads, \
     head_dim, window, scale}
