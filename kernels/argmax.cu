// The highest logit of each row and the lowest token that has it; the first NaN, where there is one.
//
// Two kernels: each run of a row to one key, grid (rows, runs) of any threads up to 1024; then a row's keys to its
// token and logit, grid (rows) of one warp. `asks` says which rows. runs [rows, run_count].
// Reads the logits once. `_odd`: rows that do not start at multiples of 16 bytes.
#include "highest.cuh"

template <int N> __device__ __forceinline__ void argmax_runs(Logits logits, const Ask* asks, uint64_t* runs) {
    const uint32_t i = blockIdx.x, run = blockIdx.y;
    const uint64_t highest = block_highest(highest_of_run<N>(logits, logits.row(asks[i].row), run));
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
    const uint64_t highest = highest_of_runs(runs + static_cast<uint64_t>(i) * run_count, run_count);
    if (threadIdx.x != 0) return;
    if (highest == NOTHING) {
        out[i] = {first, -INFINITY};
        return;
    }
    const uint32_t column = column_of(highest);
    out[i] = {first + column, logits[asks[i].row * stride + column]};
}
