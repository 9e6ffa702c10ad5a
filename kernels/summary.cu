// What is told of a row: its peak, its masses, and the keys of its highest logits in no order.
//
// Grid (asks), 1024 threads. best, masses and drawn are what argmax.cu, mass.cu and draw.cu found; the last two may be
// null. An answer is the best, the two masses, the key of what was drawn with its column and logit, then `count` keys, 8 bytes each; of a row whose peak is not finite, the best and zeros.
//
// A key is selected by radix: digit by digit from the top, count how many keys have each digit, and keep the one that
// the last wanted key has, until all keys that share what is kept are wanted. A key ends in its column, so equals are
// told apart as other keys are. The row is looked through twice: for each thread's highest key, of which the last
// wanted one is a floor, and for the keys at or above it, commonly few more than are wanted. Where these are more
// than CANDIDATES, the row itself is what is counted: up to 7 times more, commonly 4.
// The row comes from L2 but for the first time. `_odd`: rows that do not start at multiples of 16 bytes.
#include "highest.cuh"
#include "mass.cuh"

constexpr uint32_t DIGIT = 11;
constexpr uint32_t DIGITS = 1u << DIGIT;
constexpr uint32_t THREADS = 1024;
// Digits that each thread sums.
constexpr uint32_t OWN = DIGITS / THREADS;
// Keys that are held in shared memory.
constexpr uint32_t CANDIDATES = 2048;

struct Digit {
    uint32_t value;
    // Keys of this digit, and how many of them are wanted.
    uint32_t count, wanted;
};

struct Space {
    uint32_t counts[DIGITS];
    uint32_t parts[THREADS / 32];
    Digit found;
    uint32_t candidate_count;
    uint64_t candidates[CANDIDATES];
};

// The digit that holds the `wanted`-th highest of the counted keys.
__device__ __forceinline__ Digit find(Space& space, uint32_t wanted) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // Threads go down from the highest digit.
    const uint32_t top = DIGITS - 1 - threadIdx.x * OWN;
    uint32_t own = 0;
#pragma unroll
    for (uint32_t i = 0; i < OWN; ++i) own += space.counts[top - i];
    uint32_t upto = own;
#pragma unroll
    for (uint32_t offset = 1; offset < 32; offset *= 2) {
        const uint32_t above = __shfl_up_sync(0xffffffffu, upto, offset);
        if (lane >= offset) upto += above;
    }
    if (lane == 31) space.parts[warp] = upto;
    __syncthreads();
    for (uint32_t i = 0; i < warp; ++i) upto += space.parts[i];
    uint32_t above = upto - own;
    if (above < wanted && wanted <= upto) {
        uint32_t value = top;
        while (above + space.counts[value] < wanted) above += space.counts[value--];
        space.found = {value, space.counts[value], wanted - above};
    }
    __syncthreads();
    return space.found;
}

// A number that `wanted` of the keys, all different, are at or above. `each` calls a function with every key, from
// the whole block; there are at least as many.
template <typename Each> __device__ __forceinline__ uint64_t threshold(Space& space, uint32_t wanted, Each each) {
    uint64_t kept = 0;
    uint32_t shift = 64;
    while (shift > 0) {
        const uint32_t width = min(shift, DIGIT);
        const uint32_t next = shift - width;
        for (uint32_t i = threadIdx.x; i < DIGITS; i += THREADS) space.counts[i] = 0;
        __syncthreads();
        each([&](uint64_t key) {
            const bool shares = shift == 64 || key >> shift == kept;
            if (shares) atomicAdd(&space.counts[key >> next & ((1u << width) - 1)], 1u);
        });
        __syncthreads();
        const Digit digit = find(space, wanted);
        kept = kept << width | digit.value;
        shift = next;
        wanted = digit.wanted;
        if (digit.count == wanted) break;
    }
    return kept << shift;
}

// Writes the keys of the `count` highest logits, in no order. 0 < count <= tokens.
template <int N>
__device__ __forceinline__ void select(Space& space, const float* row, uint32_t tokens, uint32_t count, uint64_t* out) {
    const auto each_of_row = [&](auto f) {
        for_columns<N>(row, 0, tokens, [&](uint32_t column, float logit) { f(key_of(ordered(logit), column)); });
    };
    // Threads that have a key of their own.
    const uint32_t owners = min(THREADS, (tokens + N - 1) / N);
    uint64_t floor = 0;
    if (count <= owners) {
        uint64_t own = 0;
        each_of_row([&](uint64_t key) { own = max(own, key); });
        floor = threshold(space, count, [&](auto f) {
            if (threadIdx.x < owners) f(own);
        });
    }
    if (threadIdx.x == 0) space.candidate_count = 0;
    __syncthreads();
    if (count <= CANDIDATES) {
        each_of_row([&](uint64_t key) {
            if (key < floor) return;
            const uint32_t i = atomicAdd(&space.candidate_count, 1u);
            if (i < CANDIDATES) space.candidates[i] = key;
        });
    }
    __syncthreads();
    const uint32_t found = space.candidate_count;
    __syncthreads();
    if (threadIdx.x == 0) space.candidate_count = 0;
    const auto select_from = [&](auto each) {
        const uint64_t lowest = threshold(space, count, each);
        each([&](uint64_t key) {
            if (key >= lowest) out[atomicAdd(&space.candidate_count, 1u)] = key;
        });
    };
    if (count <= CANDIDATES && found <= CANDIDATES) {
        select_from([&](auto f) {
            for (uint32_t i = threadIdx.x; i < found; i += THREADS) f(space.candidates[i]);
        });
    } else {
        select_from([&](auto f) {
            each_of_row([&](uint64_t key) {
                if (key >= floor) f(key);
            });
        });
    }
}

struct Header {
    Best best;
    Mass mass;
    // Key of the drawn column's score, and its logit; of a row that draws none, 0.
    uint64_t drawn;
    Best chosen;
};

template <int N>
__device__ __forceinline__ void summary(Logits logits, const Ask* asks, const Best* best, const Mass* masses,
                                        const uint64_t* drawn, uint32_t runs, uint64_t* answers) {
    const Ask ask = asks[blockIdx.x];
    const Best highest = best[blockIdx.x];
    const bool finite = isfinite(highest.logit);
    uint64_t* answer = answers + ask.answer;
    if (threadIdx.x == 0) {
        const bool weighed = finite && masses != nullptr;
        const Mass mass = weighed ? total(masses + static_cast<uint64_t>(blockIdx.x) * runs, runs) : Mass{0.0, 0.0};
        *reinterpret_cast<Header*>(answer) = {highest, mass, NOTHING, highest};
    }
    if (finite && drawn != nullptr && ask.pick.temperature != 0.0f && threadIdx.x < 32) {
        const uint64_t key = highest_of_runs(drawn + static_cast<uint64_t>(blockIdx.x) * runs, runs);
        __syncwarp();
        Header* header = reinterpret_cast<Header*>(answer);
        const uint32_t column = column_of(key);
        if (threadIdx.x == 0) header->drawn = key, header->chosen = {column, logits.row(ask.row)[column]};
    }
    constexpr uint32_t HEADER = sizeof(Header) / sizeof(uint64_t);
    __shared__ Space space;
    if (finite && ask.count > 0) select<N>(space, logits.row(ask.row), logits.tokens, ask.count, answer + HEADER);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    summary_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks, const Best* best,
                const Mass* masses, const uint64_t* drawn, uint32_t runs, uint64_t* answers) {
    summary<4>({logits, stride, tokens}, asks, best, masses, drawn, runs, answers);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    summary_odd_f32(const float* logits, uint64_t stride, uint32_t tokens, const Ask* asks, const Best* best,
                    const Mass* masses, const uint64_t* drawn, uint32_t runs, uint64_t* answers) {
    summary<1>({logits, stride, tokens}, asks, best, masses, drawn, runs, answers);
}
