// Runs of N elements between memory and f32 registers, in accesses of at most 16 bytes.
#pragma once

#include "common.cuh"

using f32 = float;

// An unsigned integer or vector of them, of so many bytes: one access each.
template <int BYTES> struct Access;
template <> struct Access<1> { using Type = uint8_t; };
template <> struct Access<2> { using Type = uint16_t; };
template <> struct Access<4> { using Type = uint32_t; };
template <> struct Access<8> { using Type = uint2; };
template <> struct Access<16> { using Type = uint4; };

// Elements of one access, of the N that lie together.
template <typename T, int N> __host__ __device__ constexpr int together() {
    return N < per_access<T>() ? N : per_access<T>();
}

// `from` must be a multiple of one access.
template <typename T, int N> __device__ __forceinline__ void load(const T* from, float (&x)[N]) {
    constexpr int COUNT = together<T, N>();
    using Bits = typename Access<COUNT * static_cast<int>(sizeof(T))>::Type;
#pragma unroll
    for (int i = 0; i < N; i += COUNT) {
        const Bits bits = *reinterpret_cast<const Bits*>(from + i);
        const T* elements = reinterpret_cast<const T*>(&bits);
#pragma unroll
        for (int j = 0; j < COUNT; ++j) x[i + j] = widen(elements[j]);
    }
}

// Rounds on the way. `to` must be a multiple of one access.
template <typename T, int N> __device__ __forceinline__ void store(T* to, const float (&x)[N]) {
    constexpr int COUNT = together<T, N>();
    using Bits = typename Access<COUNT * static_cast<int>(sizeof(T))>::Type;
#pragma unroll
    for (int i = 0; i < N; i += COUNT) {
        Bits bits;
        T* elements = reinterpret_cast<T*>(&bits);
#pragma unroll
        for (int j = 0; j < COUNT; ++j) elements[j] = narrow<T>(x[i + j]);
        *reinterpret_cast<Bits*>(to + i) = bits;
    }
}
