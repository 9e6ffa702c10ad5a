// What is made of the ranks' values, 16 bytes at a time: they are taken in rank order, so that every rank has the same
// bits, and every run.
#pragma once

#include "access.cuh"

// In f32, rounded once.
template <typename T> struct Sum {
    using Element = T;
    static constexpr int COUNT = per_access<T>();
    float at[COUNT];

    __device__ __forceinline__ void take(uint4 bits, bool is_first) {
        const T* values = reinterpret_cast<const T*>(&bits);
#pragma unroll
        for (int i = 0; i < COUNT; ++i) at[i] = is_first ? widen(values[i]) : at[i] + widen(values[i]);
    }

    __device__ __forceinline__ uint4 result() const {
        uint4 bits;
        store<T, COUNT>(reinterpret_cast<T*>(&bits), at);
        return bits;
    }
};

struct Max {
    using Element = uint64_t;
    static constexpr int COUNT = 2;
    uint64_t at[COUNT];

    __device__ __forceinline__ void take(uint4 bits, bool is_first) {
        const uint64_t* values = reinterpret_cast<const uint64_t*>(&bits);
#pragma unroll
        for (int i = 0; i < COUNT; ++i) at[i] = is_first || values[i] > at[i] ? values[i] : at[i];
    }

    __device__ __forceinline__ uint4 result() const {
        uint4 bits;
        uint64_t* values = reinterpret_cast<uint64_t*>(&bits);
        values[0] = at[0];
        values[1] = at[1];
        return bits;
    }
};

// The parts of all ranks; `part(rank)` loads one. Eight loads are on their way at a time: over PCIe each takes a
// microsecond or more.
template <typename Fold, typename F> __device__ __forceinline__ uint4 fold(uint32_t ranks, F part) {
    constexpr int TOGETHER = 8;
    Fold all;
    for (uint32_t first = 0; first < ranks; first += TOGETHER) {
        uint4 parts[TOGETHER];
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i) {
            if (first + i < ranks) parts[i] = part(first + i);
        }
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i) {
            if (first + i < ranks) all.take(parts[i], first + i == 0);
        }
    }
    return all.result();
}

// 16 bytes of `count` elements that start at a multiple of 16 bytes; zeros beyond the last.
template <typename T> __device__ __forceinline__ uint4 load_unit(const T* x, uint32_t count, uint32_t unit) {
    constexpr uint32_t COUNT = per_access<T>();
    if (unit < count / COUNT) return reinterpret_cast<const uint4*>(x)[unit];
    uint4 bits{};
    T* values = reinterpret_cast<T*>(&bits);
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
        if (unit * COUNT + i < count) values[i] = x[unit * COUNT + i];
    }
    return bits;
}

// The inverse of load_unit: nothing beyond the last element is written.
template <typename T> __device__ __forceinline__ void store_unit(T* x, uint32_t count, uint32_t unit, uint4 bits) {
    constexpr uint32_t COUNT = per_access<T>();
    if (unit < count / COUNT) {
        reinterpret_cast<uint4*>(x)[unit] = bits;
        return;
    }
    const T* values = reinterpret_cast<const T*>(&bits);
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
        if (unit * COUNT + i < count) x[unit * COUNT + i] = values[i];
    }
}
