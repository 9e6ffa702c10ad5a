// The token at which a row's mass, summed in the order of tokens, exceeds `mass`.
//
// One block of 256 threads. best and masses [runs] are what argmax.cu and mass.cu found of the one row. First the run
// is found among the row's runs, then a stretch of it, one a thread, then the token. Rounding may leave a sliver:
// then it is the last token that has any weight. Reads one run twice.
#include "mass.cuh"

constexpr uint32_t THREADS = 256;
constexpr uint32_t STRETCH = RUN / THREADS;

// The first of `count` weights at which their sum exceeds `left`, else the last that is not 0, else `count`. Takes
// those before it from `left`.
template <typename F> __device__ __forceinline__ uint32_t walk(uint32_t count, double& left, F weight) {
    uint32_t last = count;
    double before = left;
    for (uint32_t i = 0; i < count; ++i) {
        const double own = weight(i);
        if (own > 0.0) {
            last = i;
            before = left;
        }
        if (left - own < 0.0) break;
        left -= own;
    }
    left = before;
    return last;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    locate_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks, const Best* best,
               const Mass* masses, uint32_t runs, uint32_t first, double mass, Best* out) {
    __shared__ double stretches[THREADS];
    __shared__ uint32_t run;
    __shared__ double left;
    const Ask ask = asks[0];
    const float peak = best[0].logit;
    const float* row = logits + ask.row * stride;
    const auto weight = [&](uint32_t column) {
        return column < tokens ? static_cast<double>(weight_of(row[column], peak, ask.temperature)) : 0.0;
    };
    if (threadIdx.x == 0) {
        double rest = mass;
        run = walk(runs, rest, [&](uint32_t i) { return masses[i].warm; });
        left = rest;
    }
    __syncthreads();
    if (run == runs) {
        // No token has any weight: the peak is not finite.
        if (threadIdx.x == 0) *out = best[0];
        return;
    }
    const uint32_t start = run * RUN;
    double own = 0.0;
    for (uint32_t i = 0; i < STRETCH; ++i) own += weight(start + threadIdx.x * STRETCH + i);
    stretches[threadIdx.x] = own;
    __syncthreads();
    if (threadIdx.x != 0) return;
    double rest = left;
    const uint32_t stretch = walk(THREADS, rest, [&](uint32_t i) { return stretches[i]; });
    const uint32_t from = start + stretch * STRETCH;
    const uint32_t column = from + walk(STRETCH, rest, [&](uint32_t i) { return weight(from + i); });
    *out = {first + column, row[column]};
}
