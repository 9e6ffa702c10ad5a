// What is told of a row: its peak, its masses, and the keys of its highest logits in no order.
//
// Grid (asks), 1024 threads. best and masses are what argmax.cu and mass.cu found. An answer is the best, the two
// masses, then `count` keys, 8 bytes each; of a row whose peak is not finite, the best and zeros.
//
// The keys are selected by radix: digit by digit from the top, count how many keys have each digit, and keep the one
// that the last wanted key has, until all keys that share what is kept are wanted. A key ends in its column, so
// equals are told apart as other keys are. Columns below `floor` are not counted: each thread has some key at or above
// it, which is enough while no more are wanted than there are threads, and spares most of the counting.
// Reads a row's logits 4 times or 5, from L2, and 8 times where many are equal. `_odd`: rows that do not start at
// multiples of 16 bytes.
#include "mass.cuh"

constexpr uint32_t DIGIT = 11;
constexpr uint32_t DIGITS = 1u << DIGIT;
constexpr uint32_t THREADS = 1024;
// Digits that each thread sums.
constexpr uint32_t OWN = DIGITS / THREADS;

struct Digit {
    uint32_t value;
    // Keys of this digit, and keys of those that are still wanted.
    uint32_t count, wanted;
};

// The digit that holds the `wanted`-th highest of the counted keys.
__device__ __forceinline__ Digit find(const uint32_t* counts, uint32_t wanted, uint32_t* parts, Digit* found) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // Threads go down from the highest digit.
    const uint32_t top = DIGITS - 1 - threadIdx.x * OWN;
    uint32_t own = 0;
#pragma unroll
    for (uint32_t i = 0; i < OWN; ++i) own += counts[top - i];
    uint32_t upto = own;
#pragma unroll
    for (uint32_t offset = 1; offset < 32; offset *= 2) {
        const uint32_t above = __shfl_up_sync(0xffffffffu, upto, offset);
        if (lane >= offset) upto += above;
    }
    if (lane == 31) parts[warp] = upto;
    __syncthreads();
    for (uint32_t i = 0; i < warp; ++i) upto += parts[i];
    uint32_t above = upto - own;
    if (above < wanted && wanted <= upto) {
        uint32_t value = top;
        while (above + counts[value] < wanted) above += counts[value--];
        *found = {value, counts[value], wanted - above};
    }
    __syncthreads();
    return *found;
}

// The lowest of the threads' highest keys.
template <int N> __device__ __forceinline__ uint64_t floor_of(const float* row, uint32_t tokens, uint64_t* parts) {
    uint64_t lowest = 0;
    for_columns<N>(row, 0, tokens, [&](uint32_t column, float logit) {
        const uint64_t key = key_of(ordered(logit), column);
        lowest = key > lowest ? key : lowest;
    });
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        const uint64_t other = __shfl_xor_sync(0xffffffffu, lowest, offset);
        lowest = other < lowest ? other : lowest;
    }
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = lowest;
    __syncthreads();
    for (uint32_t i = 0; i < THREADS / 32; ++i) lowest = parts[i] < lowest ? parts[i] : lowest;
    return lowest;
}

// Writes the keys of the `count` highest logits, in no order. 0 < count <= tokens.
template <int N>
__device__ __forceinline__ void select(const float* row, uint32_t tokens, uint32_t count, uint64_t* out) {
    __shared__ uint32_t counts[DIGITS];
    __shared__ uint64_t lowest[THREADS / 32];
    __shared__ uint32_t parts[THREADS / 32];
    __shared__ Digit found;
    __shared__ uint32_t written;
    uint64_t floor = count <= THREADS ? floor_of<N>(row, tokens, lowest) : 0;
    // All wanted keys are at or above `floor`; those above its digits so far are wanted for certain.
    uint32_t wanted = count;
    uint64_t kept = 0;
    uint32_t shift = 64;
    while (shift > 0) {
        const uint32_t width = min(shift, DIGIT);
        const uint32_t next = shift - width;
        for (uint32_t i = threadIdx.x; i < DIGITS; i += THREADS) counts[i] = 0;
        __syncthreads();
        for_columns<N>(row, 0, tokens, [&](uint32_t column, float logit) {
            const uint64_t key = key_of(ordered(logit), column);
            const bool shares = shift == 64 || key >> shift == kept;
            if (shares && key >= floor) atomicAdd(&counts[key >> next & ((1u << width) - 1)], 1u);
        });
        __syncthreads();
        const Digit digit = find(counts, wanted, parts, &found);
        kept = kept << width | digit.value;
        shift = next;
        wanted = digit.wanted;
        if (digit.count == wanted) break;
    }
    floor = max(floor, kept << shift);
    if (threadIdx.x == 0) written = 0;
    __syncthreads();
    for_columns<N>(row, 0, tokens, [&](uint32_t column, float logit) {
        const uint64_t key = key_of(ordered(logit), column);
        if (key >= floor) out[atomicAdd(&written, 1u)] = key;
    });
}

struct Header {
    Best best;
    Mass mass;
};

template <int N>
__device__ __forceinline__ void summary(Logits logits, const Ask* asks, const Best* best, const Mass* masses,
                                        uint32_t runs, uint64_t* answers) {
    const Ask ask = asks[blockIdx.x];
    const Best highest = best[blockIdx.x];
    const bool finite = isfinite(highest.logit);
    uint64_t* answer = answers + ask.answer;
    if (threadIdx.x == 0) {
        const bool weighed = finite && masses != nullptr;
        const Mass mass = weighed ? total(masses + static_cast<uint64_t>(blockIdx.x) * runs, runs) : Mass{0.0, 0.0};
        *reinterpret_cast<Header*>(answer) = {highest, mass};
    }
    constexpr uint32_t HEADER = sizeof(Header) / sizeof(uint64_t);
    if (finite && ask.count > 0) select<N>(logits.row(ask.row), logits.tokens, ask.count, answer + HEADER);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    summary_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks, const Best* best,
                const Mass* masses, uint32_t runs, uint64_t* answers) {
    summary<4>({logits, stride, tokens}, asks, best, masses, runs, answers);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    summary_odd_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks, const Best* best,
                    const Mass* masses, uint32_t runs, uint64_t* answers) {
    summary<1>({logits, stride, tokens}, asks, best, masses, runs, answers);
}
