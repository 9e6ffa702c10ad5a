// Each row's token: of the highest logit, or of the highest sum of logit and noise, and a record of all rows.
//
// First each run of a row to one key, grid (rows, runs) of any threads up to 1024; then a row's keys to its key among
// all ranks, grid (rows) of one warp. logits [rows, stride], runs [rows, run_count], picks [rows], or null: no noise.
// The noise is what ops/sampling/noise.rs says, to the bit: products and sums are rounded one by one. Reads the logits
// once. `_odd`: rows that do not start at multiples of 16 bytes.
#include "highest.cuh"

constexpr uint32_t AT_ONCE_DRAWN = 4;

__device__ __forceinline__ float times(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float plus(float a, float b) { return __fadd_rn(a, b); }

__device__ __forceinline__ void philox(const Pick& pick, uint32_t counter, uint32_t (&out)[AT_ONCE_DRAWN]) {
    uint32_t c0 = counter, c1 = pick.position, c2 = pick.stream[0], c3 = pick.stream[1];
    uint32_t k0 = pick.seed[0], k1 = pick.seed[1];
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint32_t high0 = __umulhi(0xd2511f53u, c0), low0 = 0xd2511f53u * c0;
        const uint32_t high1 = __umulhi(0xcd9e8d57u, c2), low1 = 0xcd9e8d57u * c2;
        c0 = high1 ^ c1 ^ k0, c1 = low1, c2 = high0 ^ c3 ^ k1, c3 = low0;
        k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

__device__ __forceinline__ float ln_1p(float x) {
    constexpr float COEFFICIENTS[9] = {7.0376836e-2f,  -1.151461e-1f,  1.1676999e-1f,  -1.2420141e-1f, 1.4249323e-1f,
                                       -1.6668058e-1f, 2.0000715e-1f, -2.4999994e-1f, 3.333333e-1f};
    const float squared = times(x, x);
    float sum = COEFFICIENTS[0];
#pragma unroll
    for (int i = 1; i < 9; ++i) sum = plus(times(sum, x), COEFFICIENTS[i]);
    return plus(plus(times(times(sum, x), squared), -times(squared, 0.5f)), x);
}

__device__ __forceinline__ float ln(float x) {
    const uint32_t bits = __float_as_uint(x);
    float mantissa = __uint_as_float(bits & 0x7fffffu | 0x3f800000u);
    float exponent = static_cast<float>(static_cast<int>(bits >> 23) - 127);
    if (mantissa > 1.41421354f) mantissa = times(mantissa, 0.5f), exponent = plus(exponent, 1.0f);
    const float small = plus(ln_1p(plus(mantissa, -1.0f)), times(exponent, -2.1219444e-4f));
    return plus(small, times(exponent, 0.6933594f));
}

__device__ __forceinline__ float gumbel(uint32_t bits) {
    const float uniform = times(plus(__uint2float_rn(bits), 0.5f), 2.3283064365386963e-10f);
    const float v = fminf(uniform, 0.99999994f);
    return -ln(v < 0.29f ? -ln_1p(-v) : -ln(plus(1.0f, -v)));
}

// The row's runs are shared out in tokens that one counter serves.
__device__ __forceinline__ uint64_t noisy(const Logits& logits, const float* row, uint32_t run, uint32_t first,
                                          const Pick& pick) {
    const uint32_t begin = first + run * RUN, end = first + min((run + 1) * RUN, logits.tokens);
    uint64_t highest = NOTHING;
    for (uint32_t i = begin / AT_ONCE_DRAWN + threadIdx.x; i * AT_ONCE_DRAWN < end; i += blockDim.x) {
        uint32_t bits[AT_ONCE_DRAWN];
        philox(pick, i, bits);
#pragma unroll
        for (uint32_t k = 0; k < AT_ONCE_DRAWN; ++k) {
            const uint32_t token = i * AT_ONCE_DRAWN + k;
            if (token < begin || token >= end) continue;
            const float score = plus(row[token - first], times(pick.temperature, gumbel(bits[k])));
            highest = higher(highest, key_of(rank(score), token - first));
        }
    }
    return highest;
}

template <int N>
__device__ __forceinline__ void draw_runs(Logits logits, uint32_t first, const Pick* picks, uint64_t* runs) {
    const uint32_t i = blockIdx.x, run = blockIdx.y;
    const float* row = logits.row(i);
    uint64_t highest;
    if (picks == nullptr || picks[i].temperature == 0.0f) {
        highest = highest_of_run<N>(logits, row, run);
    } else {
        highest = noisy(logits, row, run, first, picks[i]);
    }
    highest = block_highest(highest);
    if (threadIdx.x == 0) runs[static_cast<uint64_t>(i) * gridDim.y + run] = highest;
}

extern "C" __global__ void draw_runs_f32(const float* logits, uint64_t stride, uint32_t tokens, uint32_t first,
                                         const Pick* picks, uint64_t* runs) {
    draw_runs<4>({logits, stride, tokens}, first, picks, runs);
}

extern "C" __global__ void draw_runs_odd_f32(const float* logits, uint64_t stride, uint32_t tokens, uint32_t first,
                                             const Pick* picks, uint64_t* runs) {
    draw_runs<1>({logits, stride, tokens}, first, picks, runs);
}

// For the rows of `asks`, and only those that want it.
extern "C" __global__ void draw_asks_f32(const float* at, uint64_t stride, uint32_t tokens, uint32_t first,
                                         const Ask* asks, uint64_t* runs) {
    const Logits logits{at, stride, tokens};
    const Ask& ask = asks[blockIdx.x];
    const uint32_t run = blockIdx.y;
    if (ask.pick.temperature == 0.0f) return;
    const uint64_t highest = block_highest(noisy(logits, logits.row(ask.row), run, first, ask.pick));
    if (threadIdx.x == 0) runs[static_cast<uint64_t>(blockIdx.x) * gridDim.y + run] = highest;
}

// A record as ops/cuda/answers reads it: a key of each row, with its token in place of the column, then `experts_read`,
// 0 where that is null. A row without tokens has the lowest number there is.
extern "C" __global__ void draw_record(const uint64_t* runs, uint32_t run_count, uint32_t first,
                                       const uint32_t* experts_read, uint64_t* record) {
    const uint32_t i = blockIdx.x;
    uint64_t highest = highest_of_runs(runs + static_cast<uint64_t>(i) * run_count, run_count);
    if (threadIdx.x != 0) return;
    if (highest == NOTHING) highest = key_of(rank(-INFINITY), 0);
    record[i] = key_of(static_cast<uint32_t>(highest >> 32), first + column_of(highest));
    if (i == 0) record[gridDim.x] = experts_read == nullptr ? 0 : *experts_read;
}
