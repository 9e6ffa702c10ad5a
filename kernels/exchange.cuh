// How the GPUs of one process hand each other data within a kernel. Each has an inbox, which the others write and it
// alone reads: in host memory that all of them reach, or in its own memory where they reach that. Nothing is ever read
// from another's.
//
// A block is a channel of its own: it writes to the blocks of its number on the other GPUs, and waits for them only. A
// channel's messages are numbered here on the GPU, so that single launches and replayed graphs mix as they will, if all
// GPUs do the same in the same order. Message e lies in half e % 2 of its channel. Nobody writes a half that others
// still read: before a GPU writes message e + 2 it has met all of them in e + 1, and they come there after they have
// read e.
//
// A channel has one block on each GPU, and so few that all are resident: each comes in the end, or `stop` is set.
#pragma once

#include "access.cuh"

constexpr uint32_t MOST_RANKS = 16;
constexpr uint32_t CHANNELS = 16;
// Messages of two stages are met in twice.
constexpr uint32_t STAGES = 2;
constexpr uint32_t FLAG_BYTES = STAGES * CHANNELS * MOST_RANKS * sizeof(uint32_t);
// Polls between two looks at `stop`, which is in host memory.
constexpr uint32_t PATIENCE = 256;

// What keeps messages in order; tests compile these kernels without one after the other, and see them fail.
enum Order { COMPLETE, BLOCK_HAS_WRITTEN, RELEASE, ACQUIRE, BLOCK_HAS_WAITED, TWO_HALVES };
#ifndef LEFT_OUT
#define LEFT_OUT COMPLETE
#endif

// A GPU's place among the others, in its own memory. `src/ops/cuda/exchange` writes it, but for the epochs.
struct Member {
    uint64_t inboxes[MOST_RANKS];
    // In host memory: not 0 once a rank has failed.
    const uint32_t* stop;
    uint32_t rank, ranks;
    // Units of 16 bytes that a slot has.
    uint32_t slot, padding;
    // Of each channel's last message.
    uint32_t epochs[CHANNELS];
};

class Channel {
    Member* member;
    uint32_t epoch;

    // In the inbox of `of`, written by `from`: flags [stage][channel][from], so that one access polls all ranks.
    __device__ __forceinline__ uint32_t* flag(uint32_t of, uint32_t stage, uint32_t from) const {
        return reinterpret_cast<uint32_t*>(member->inboxes[of]) + (stage * CHANNELS + blockIdx.x) * MOST_RANKS + from;
    }

    __device__ __forceinline__ void raise(uint32_t* flag) const {
        if constexpr (LEFT_OUT == RELEASE) {
            asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(flag), "r"(epoch) : "memory");
        } else {
            asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(flag), "r"(epoch) : "memory");
        }
    }

    __device__ __forceinline__ bool is_raised(const uint32_t* flag) const {
        uint32_t seen;
        if constexpr (LEFT_OUT == ACQUIRE) {
            asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
        } else {
            asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
        }
        // Epochs wrap, and another may be one ahead.
        return static_cast<int32_t>(seen - epoch) >= 0;
    }

    __device__ __forceinline__ bool is_stopped() const {
        uint32_t seen;
        asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(member->stop) : "memory");
        return seen != 0;
    }

public:
    const uint32_t rank, ranks, slot_units;

    __device__ __forceinline__ explicit Channel(Member* member)
        : member(member), epoch(member->epochs[blockIdx.x] + 1), rank(member->rank), ranks(member->ranks),
          slot_units(member->slot) {}

    // Where `from` leaves its part of this message for `of`.
    __device__ __forceinline__ uint4* slot(uint32_t of, uint32_t stage, uint32_t from) const {
        const uint32_t half = blockIdx.x * 2 + (LEFT_OUT == TWO_HALVES ? 0 : epoch % 2);
        const uint64_t index = static_cast<uint64_t>(half * STAGES + stage) * ranks + from;
        return reinterpret_cast<uint4*>(member->inboxes[of] + FLAG_BYTES) + index * slot_units;
    }

    // The others, each GPU beginning with the next one, so that not all write to the same.
    template <typename F> __device__ __forceinline__ void for_others(F f) const {
        for (uint32_t i = 1; i < ranks; ++i) f(rank + i < ranks ? rank + i : rank + i - ranks);
    }

    // Waits for this channel's block on every GPU: what each of them has written, all of them may read.
    __device__ __forceinline__ void meet(uint32_t stage) const {
        if constexpr (LEFT_OUT != BLOCK_HAS_WRITTEN) __syncthreads();
        const uint32_t other = threadIdx.x;
        if (other < ranks && other != rank) {
            raise(flag(other, stage, rank));
            const uint32_t* arrived = flag(rank, stage, other);
            for (uint32_t polls = 1; !is_raised(arrived); ++polls) {
                if (polls % PATIENCE == 0 && is_stopped()) break;
            }
        }
        if constexpr (LEFT_OUT != BLOCK_HAS_WAITED) __syncthreads();
    }

    // To the next message. The whole block does this after it has met in the one before.
    __device__ __forceinline__ void next() { ++epoch; }

    __device__ __forceinline__ void close() const {
        if (threadIdx.x == 0) member->epochs[blockIdx.x] = epoch - 1;
    }
};
