// Sums over the GPUs of one process, in place, through their inboxes: x [count], which starts at a multiple of 16 bytes.
// Every GPU launches the same kernel with the same grid, at most CHANNELS blocks.
//
// one_shot   Each rank writes all of x to every other, and each adds up all: (R - 1) n bytes a rank. One meeting.
// two_shot   x is cut into R chunks. Each rank writes each chunk to its owner, who adds it up and writes the sum to every
//            other: 2 (R - 1) n / R bytes a rank. Two meetings. Also what several rounds of it send: a round is as much as
//            the slots hold.
// one_shot_norm  One shot of delta [rows, width], which is only read, and norm.cu behind it: x += the sum, rounded as one_shot
//            leaves it, out = the norm of x. A block has whole rows, each at most a slot long, which start at multiples of
//            16 bytes; as many threads as norm.cu gives a row, so that the bits are those of the two kernels.
// staged     The sum alone, of one chunk x [count] and the same chunk of all ranks, which copies have brought to `staged`
//            [ranks, stride]; the own place there is not read. Any grid.
#include "exchange.cuh"
#include "fold.cuh"
#include "norm.cuh"

__device__ __forceinline__ uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

// Calls `round(start, end)` with what this channel has of `units`, as much at a time as slots hold. For all ranks alike.
template <typename F> __device__ __forceinline__ void for_rounds(Channel& channel, uint32_t units, F round) {
    const uint32_t share = ceil_div(units, gridDim.x);
    const uint32_t last = min((blockIdx.x + 1) * share, units);
    for (uint32_t start = blockIdx.x * share; start < last; start += channel.slot_units) {
        round(start, min(start + channel.slot_units, last));
        channel.next();
    }
    channel.close();
}

template <typename F> __device__ __forceinline__ void for_units(uint32_t start, uint32_t end, F f) {
    for (uint32_t unit = start + threadIdx.x; unit < end; unit += blockDim.x) f(unit);
}

template <typename Fold>
__device__ __forceinline__ void one_shot(Member* member, typename Fold::Element* x, uint32_t count) {
    Channel channel(member);
    const uint32_t rank = channel.rank;
    for_rounds(channel, ceil_div(count, Fold::COUNT), [&](uint32_t start, uint32_t end) {
        for_units(start, end, [&](uint32_t unit) {
            const uint4 own = load_unit(x, count, unit);
            channel.for_others([&](uint32_t other) { channel.slot(other, 0, rank)[unit - start] = own; });
        });
        channel.meet(0);
        for_units(start, end, [&](uint32_t unit) {
            const uint4 own = load_unit(x, count, unit);
            const uint4 all = fold<Fold>(channel.ranks, [&](uint32_t from) {
                return from == rank ? own : channel.slot(rank, 0, from)[unit - start];
            });
            store_unit(x, count, unit, all);
        });
    });
}

template <typename T>
__device__ __forceinline__ void one_shot_norm(Member* member, const T* delta, T* x, const float* weight, float eps,
                                              uint32_t width, uint32_t rows, T* out) {
    constexpr int N = per_access<T>();
    Channel channel(member);
    const uint32_t rank = channel.rank;
    for (uint32_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const uint64_t start = static_cast<uint64_t>(row) * width;
        const uint4* units = reinterpret_cast<const uint4*>(delta + start);
        for_units(0, width / N, [&](uint32_t unit) {
            const uint4 own = units[unit];
            channel.for_others([&](uint32_t other) { channel.slot(other, 0, rank)[unit] = own; });
        });
        channel.meet(0);
        const auto more = [&](uint32_t column, float (&values)[N]) {
            const uint32_t unit = column / N;
            const uint4 all = fold<Sum<T>>(channel.ranks, [&](uint32_t from) {
                return from == rank ? units[unit] : channel.slot(rank, 0, from)[unit];
            });
            load(reinterpret_cast<const T*>(&all), values);
            return true;
        };
        norm_row<N>(x + start, more, weight, eps, width, out + start);
        channel.next();
    }
    channel.close();
}

template <typename Fold>
__device__ __forceinline__ void two_shot(Member* member, typename Fold::Element* x, uint32_t count) {
    Channel channel(member);
    const uint32_t rank = channel.rank;
    const uint32_t units = ceil_div(count, Fold::COUNT);
    // The last ranks may own less, or nothing.
    const uint32_t chunk = ceil_div(units, channel.ranks);
    const auto end_of = [&](uint32_t owner, uint32_t end) { return min(owner * chunk + end, units) - min(owner * chunk, units); };
    for_rounds(channel, chunk, [&](uint32_t start, uint32_t end) {
        channel.for_others([&](uint32_t owner) {
            for_units(start, end_of(owner, end), [&](uint32_t unit) {
                channel.slot(owner, 0, rank)[unit - start] = load_unit(x, count, owner * chunk + unit);
            });
        });
        channel.meet(0);
        for_units(start, end_of(rank, end), [&](uint32_t unit) {
            const uint4 own = load_unit(x, count, rank * chunk + unit);
            const uint4 all = fold<Fold>(channel.ranks, [&](uint32_t from) {
                return from == rank ? own : channel.slot(rank, 0, from)[unit - start];
            });
            store_unit(x, count, rank * chunk + unit, all);
            channel.for_others([&](uint32_t other) { channel.slot(other, 1, rank)[unit - start] = all; });
        });
        channel.meet(1);
        channel.for_others([&](uint32_t owner) {
            for_units(start, end_of(owner, end), [&](uint32_t unit) {
                store_unit(x, count, owner * chunk + unit, channel.slot(rank, 1, owner)[unit - start]);
            });
        });
    });
}

template <typename Fold>
__device__ __forceinline__ void sum_staged(typename Fold::Element* x, uint32_t count, const uint4* staged, uint32_t stride,
                                       uint32_t rank, uint32_t ranks) {
    const uint32_t unit = blockIdx.x * blockDim.x + threadIdx.x;
    if (unit >= ceil_div(count, Fold::COUNT)) return;
    const uint4 own = load_unit(x, count, unit);
    const uint4 all = fold<Fold>(ranks, [&](uint32_t from) {
        return from == rank ? own : staged[static_cast<uint64_t>(from) * stride + unit];
    });
    store_unit(x, count, unit, all);
}

#define EXPORT_ALL_REDUCE(NAME, T)                                                                                    \
    extern "C" __global__ void __launch_bounds__(512, 1) one_shot_##NAME(Member* member, T* x, uint32_t count) {         \
        one_shot<Sum<T>>(member, x, count);                                                                           \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(512, 1)                                                              \
        one_shot_norm_##NAME(Member* member, const T* delta, T* x, const float* weight, float eps, uint32_t width,    \
                             uint32_t rows, T* out) {                                                                 \
        one_shot_norm<T>(member, delta, x, weight, eps, width, rows, out);                                            \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(512, 1) two_shot_##NAME(Member* member, T* x, uint32_t count) {         \
        two_shot<Sum<T>>(member, x, count);                                                                           \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(512, 1) staged_##NAME(                                                  \
        T* x, uint32_t count, const uint4* parts, uint32_t stride, uint32_t rank, uint32_t ranks) {                   \
        sum_staged<Sum<T>>(x, count, parts, stride, rank, ranks);                                                         \
    }
EXPORT_ALL_REDUCE(f32, float)
EXPORT_ALL_REDUCE(f16, f16)
EXPORT_ALL_REDUCE(bf16, bf16)

// The highest of all ranks' numbers, of each of `count`, on every rank.
extern "C" __global__ void __launch_bounds__(512, 1) highest_u64(Member* member, uint64_t* x, uint32_t count) {
    one_shot<Max>(member, x, count);
}

// Nothing but a meeting: what was queued before it on every GPU is done after it on all of them. One block.
extern "C" __global__ void meet(Member* member) {
    Channel channel(member);
    channel.meet(0);
    channel.next();
    channel.close();
}
