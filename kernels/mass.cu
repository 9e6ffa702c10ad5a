// How much probability each run of a row holds: sums of exp((logit - peak) / temperature), and of exp(logit - peak).
//
// best [asks] is what argmax found; masses [asks, runs]. Grid (asks, runs), 256 threads. What an ask does not want is
// 0. Reads the logits once. `_odd`: rows that do not start at multiples of 16 bytes.
#include "mass.cuh"

template <int N>
__device__ __forceinline__ void masses(Logits logits, const Ask* asks, const Best* best, Mass* out) {
    __shared__ Mass parts[32];
    const uint32_t i = blockIdx.x, run = blockIdx.y;
    const Ask ask = asks[i];
    const float peak = best[i].logit;
    const bool warm = ask.temperature > 0.0f, at_one = ask.at_one != 0;
    Mass mass{0.0, 0.0};
    if (warm || at_one) {
        for_columns<N>(logits.row(ask.row), run * RUN, min((run + 1) * RUN, logits.tokens), [&](uint32_t, float logit) {
            if (warm) mass.warm += weight_of(logit, peak, ask.temperature);
            if (at_one) mass.at_one += weight_of(logit, peak, 1.0f);
        });
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        mass.warm += __shfl_xor_sync(0xffffffffu, mass.warm, offset);
        mass.at_one += __shfl_xor_sync(0xffffffffu, mass.at_one, offset);
    }
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = mass;
    __syncthreads();
    if (threadIdx.x == 0) out[static_cast<uint64_t>(i) * gridDim.y + run] = total(parts, blockDim.x / 32);
}

extern "C" __global__ void masses_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks,
                                      const Best* best, Mass* out) {
    masses<4>({logits, stride, tokens}, asks, best, out);
}

extern "C" __global__ void masses_odd_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks,
                                          const Best* best, Mass* out) {
    masses<1>({logits, stride, tokens}, asks, best, out);
}
