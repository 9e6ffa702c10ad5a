// The token at which a row's mass, summed in the order of tokens, exceeds `mass`.
//
// One block of 256 threads. best and masses [runs], at most 256, are what argmax.cu and mass.cu found of the one row.
// First the run is found among the row's runs, then a stretch of the run, then the token: each time, threads hold the
// weights in order. Rounding may leave a sliver: then it is the last token that has any weight. Reads one run once.
#include "mass.cuh"

constexpr uint32_t THREADS = 256;
constexpr uint32_t STRETCH = RUN / THREADS;

// Where column i of a run lies in shared memory: threads that go along stretches meet different banks.
__host__ __device__ constexpr uint32_t padded(uint32_t i) { return i + i / STRETCH; }

struct Space {
    double warps[THREADS / 32];
    // The first thread at which the sum exceeds; how far from the end the last is that has any weight.
    uint32_t first, last;
    // What lies before each thread.
    double before[THREADS];
};

// The first thread at which the sum of `own`, in order of threads, exceeds `left`, else the last that has any, else
// THREADS. Takes from `left` what is before it.
__device__ __forceinline__ uint32_t find(Space& space, double own, double& left) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    double upto = own;
#pragma unroll
    for (uint32_t offset = 1; offset < 32; offset *= 2) {
        const double below = __shfl_up_sync(0xffffffffu, upto, offset);
        if (lane >= offset) upto += below;
    }
    if (lane == 31) space.warps[warp] = upto;
    if (threadIdx.x == 0) space.first = space.last = THREADS;
    __syncthreads();
    double before = upto - own;
    double warps = 0.0;
    for (uint32_t i = 0; i < warp; ++i) warps += space.warps[i];
    space.before[threadIdx.x] = before + warps;
    if (own > 0.0) {
        if (upto + warps > left) atomicMin(&space.first, threadIdx.x);
        atomicMin(&space.last, THREADS - 1 - threadIdx.x);
    }
    __syncthreads();
    uint32_t found = space.first;
    if (found == THREADS && space.last != THREADS) found = THREADS - 1 - space.last;
    if (found != THREADS) left -= space.before[found];
    __syncthreads();
    return found;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    locate_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks, const Best* best,
               const Mass* masses, uint32_t runs, uint32_t first, double mass, Best* out) {
    __shared__ Space space;
    __shared__ float weights[padded(RUN)];
    const Ask ask = asks[0];
    const float peak = best[0].logit;
    const float* row = logits + ask.row * stride;
    double left = mass;
    const uint32_t run = find(space, threadIdx.x < runs ? masses[threadIdx.x].warm : 0.0, left);
    if (run == THREADS) {
        // No token has any weight: the peak is not finite.
        if (threadIdx.x == 0) *out = best[0];
        return;
    }
    const uint32_t start = run * RUN;
    for (uint32_t i = threadIdx.x; i < RUN; i += THREADS) {
        const uint32_t column = start + i;
        weights[padded(i)] = column < tokens ? weight_of(row[column], peak, ask.temperature) : 0.0f;
    }
    __syncthreads();
    double own = 0.0;
    for (uint32_t i = 0; i < STRETCH; ++i) own += weights[padded(threadIdx.x * STRETCH + i)];
    const uint32_t stretch = find(space, own, left);
    const uint32_t from = stretch * STRETCH;
    const uint32_t column = from + find(space, threadIdx.x < STRETCH ? weights[padded(from + threadIdx.x)] : 0.0, left);
    if (threadIdx.x == 0) *out = {first + start + column, row[start + column]};
}
