// attention_reduce: merges what attention_decode left of sequences that used several splits.
//
// Grid: (heads, sequences); one thread for each column of head_dim, in warps. `sums` is
// [sequences, splits, heads, head_dim], `units` [sequences, splits, heads, 2] of peak (a power of 2) and total.
// Moves: 4 * (head_dim + 2) bytes for each head and used split, and out.
#include "attention.cuh"

template <typename T>
__device__ __forceinline__ void attention_reduce(const uint32_t* query_offsets, const uint32_t* context_lens,
                                                 const float* sums, const float* units, T* out, int most, int heads,
                                                 int head_dim, int window) {
    const int head = blockIdx.x, sequence = blockIdx.y, column = threadIdx.x;
    const int row = query_offsets[sequence];
    if (static_cast<int>(query_offsets[sequence + 1]) - row != 1) return;
    const Splits splits(context_lens[sequence], window, most);
    if (splits.used == 1 || column >= head_dim) return;
    const size_t first = static_cast<size_t>(sequence) * most * heads + head;
    const auto unit = [&](int s) {
        return *reinterpret_cast<const Vector<float, 2>*>(units + (first + static_cast<size_t>(s) * heads) * 2);
    };
    float peak = -INFINITY;
#pragma unroll 4
    for (int s = 0; s < splits.used; ++s) peak = fmaxf(peak, unit(s).at[0]);
    float total = 0.0f, sum = 0.0f;
#pragma unroll 4
    for (int s = 0; s < splits.used; ++s) {
        const auto part = unit(s);
        const float weight = power_of_2(part.at[0] - peak);
        total = fmaf(weight, part.at[1], total);
        sum = fmaf(weight, sums[(first + static_cast<size_t>(s) * heads) * head_dim + column], sum);
    }
    out[(static_cast<size_t>(row) * heads + head) * head_dim + column] = narrow<T>(sum / total);
}

#define EXPORT_REDUCE(NAME, T)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) attention_reduce_##NAME(                                    \
        const uint32_t* query_offsets, const uint32_t* context_lens, const float* sums, const float* units, T* out, \
        uint32_t splits, uint32_t heads, uint32_t head_dim, uint32_t window) {                                    \
        attention_reduce<T>(query_offsets, context_lens, sums, units, out, splits, heads, head_dim, window);      \
    }

EXPORT_REDUCE(f32, float)
EXPORT_REDUCE(f16, f16)
EXPORT_REDUCE(bf16, bf16)
