// The words of all ranks, in rank order, on every rank: mine [count], all [ranks, count]. One block: a few words.
//
// meet       Nothing but a meeting: what was queued before it on every GPU is done after it on all of them. One block.
#include "exchange.cuh"

extern "C" __global__ void __launch_bounds__(512, 1) all_gather(Member* member, const uint32_t* mine, uint32_t* all,
                                                             uint32_t count) {
    Channel channel(member);
    const uint32_t rank = channel.rank, most = channel.slot_units * 4;
    const auto words = [&](uint32_t of, uint32_t from) { return reinterpret_cast<uint32_t*>(channel.slot(of, 0, from)); };
    for (uint32_t start = 0; start < count; start += most) {
        const uint32_t end = min(start + most, count);
        for (uint32_t i = start + threadIdx.x; i < end; i += blockDim.x) {
            const uint32_t word = mine[i];
            channel.for_others([&](uint32_t other) { words(other, rank)[i - start] = word; });
            all[static_cast<uint64_t>(rank) * count + i] = word;
        }
        channel.meet(0);
        channel.for_others([&](uint32_t other) {
            for (uint32_t i = start + threadIdx.x; i < end; i += blockDim.x) {
                all[static_cast<uint64_t>(other) * count + i] = words(rank, other)[i - start];
            }
        });
        channel.next();
    }
    channel.close();
}

extern "C" __global__ void meet(Member* member) {
    Channel channel(member);
    channel.meet(0);
    channel.next();
    channel.close();
}
