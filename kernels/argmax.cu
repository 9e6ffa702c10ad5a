// The highest logit of each row and the lowest token that has it; the first NaN, where there is one.
//
// First each run of a row to one key, grid (rows, runs) of any threads up to 1024; then a row's keys to its token and
// logit, or to its key among all ranks, grid (rows) of one warp. `asks` says which rows, or is null: all in order.
// runs [rows, run_count]. Reads the logits once. `_odd`: rows that do not start at multiples of 16 bytes.
#include "logits.cuh"

// No key of a logit is 0: the lowest is that of -inf.
constexpr uint64_t NOTHING = 0;

__device__ __forceinline__ uint64_t higher(uint64_t a, uint64_t b) { return a > b ? a : b; }

__device__ __forceinline__ uint64_t warp_highest(uint64_t x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x = higher(x, __shfl_xor_sync(0xffffffffu, x, offset));
    return x;
}

// Zeros of both signs are equal, and a NaN of any sign is above all.
__device__ __forceinline__ uint32_t rank(float logit) {
    if (isnan(logit)) return 0xffffffffu;
    return ordered(logit == 0.0f ? 0.0f : logit);
}

template <int N> __device__ __forceinline__ void argmax_runs(Logits logits, const Ask* asks, uint64_t* runs) {
    __shared__ uint64_t parts[32];
    const uint32_t i = blockIdx.x, run = blockIdx.y;
    const float* row = logits.row(asks == nullptr ? i : asks[i].row);
    uint64_t highest = NOTHING;
    for_columns<N>(row, run * RUN, min((run + 1) * RUN, logits.tokens), [&](uint32_t column, float logit) {
        highest = higher(highest, key_of(rank(logit), column));
    });
    highest = warp_highest(highest);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = highest;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    highest = warp_highest(threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : NOTHING);
    if (threadIdx.x == 0) runs[static_cast<uint64_t>(i) * gridDim.y + run] = highest;
}

extern "C" __global__ void argmax_runs_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks,
                                           uint64_t* runs) {
    argmax_runs<4>({logits, stride, tokens}, asks, runs);
}

extern "C" __global__ void argmax_runs_odd_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks,
                                               uint64_t* runs) {
    argmax_runs<1>({logits, stride, tokens}, asks, runs);
}

// `first` is the token of column 0. A row without tokens has the lowest number there is.
extern "C" __global__ void argmax_f32(const float* logits, uint64_t stride, const Ask* asks, const uint64_t* runs,
                                      uint32_t run_count, uint32_t first, Best* out) {
    const uint32_t i = blockIdx.x;
    uint64_t highest = NOTHING;
    for (uint32_t run = threadIdx.x; run < run_count; run += 32) {
        highest = higher(highest, runs[static_cast<uint64_t>(i) * run_count + run]);
    }
    highest = warp_highest(highest);
    if (threadIdx.x != 0) return;
    if (highest == NOTHING) {
        out[i] = {first, -INFINITY};
        return;
    }
    const uint32_t column = column_of(highest);
    const uint32_t row = asks == nullptr ? i : asks[i].row;
    out[i] = {first + column, logits[row * stride + column]};
}

// A record as ops/cuda/answers reads it: a key of each row, with its token in place of the column, then `experts_read`,
// 0 where that is null. A row without tokens has the lowest number there is.
extern "C" __global__ void argmax_record(const uint64_t* runs, uint32_t run_count, uint32_t first,
                                         const uint32_t* experts_read, uint64_t* record) {
    const uint32_t i = blockIdx.x;
    uint64_t highest = NOTHING;
    for (uint32_t run = threadIdx.x; run < run_count; run += 32) {
        highest = higher(highest, runs[static_cast<uint64_t>(i) * run_count + run]);
    }
    highest = warp_highest(highest);
    if (threadIdx.x != 0) return;
    if (highest == NOTHING) highest = key_of(rank(-INFINITY), 0);
    record[i] = key_of(static_cast<uint32_t>(highest >> 32), first + column_of(highest));
    if (i == 0) record[gridDim.x] = experts_read == nullptr ? 0 : *experts_read;
}
