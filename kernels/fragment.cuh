// A warp's share of W xᵀ on the tensor cores: 16 rows of the weight against 8 rows of x, `CHUNK` steps of k.
//
// The weight is the operand of 16 rows, so that few rows of x waste little. A sum does not mind the order of k:
// each lane takes 16 consecutive bytes of a row as they lie in memory, and x is read in the same order. Lane
// (g, t) = (lane / 4, lane % 4) holds rows g and g + 8 of the weight and row g of x, bytes 16 t of the chunk.
//
// e4m3 meets 16-bit x by its bits: sign, exponent and fraction move to their places in f16 (or bf16), which is the
// number times 2^-8 (2^-120), subnormals too. For bf16 one exact product undoes it, for f16 the block's scale does.
#pragma once

#include "common.cuh"

__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bf16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], f16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#if __CUDA_ARCH__ >= 890
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], e4m3) {
    asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// Bytes 2 h and 2 h + 1 of four e4m3 as a pair, times 2^-8.
__device__ __forceinline__ uint32_t pair_of(uint32_t four, int h, f16) {
    const uint32_t high = __byte_perm(four, 0, h ? 0x3424 : 0x1404);
    return (high & 0x80008000u) | ((high >> 1) & 0x3f803f80u);
}

// The same, times 1.
__device__ __forceinline__ uint32_t pair_of(uint32_t four, int h, bf16) {
    const uint32_t high = __byte_perm(four, 0, h ? 0x3424 : 0x1404);
    const uint32_t small = (high & 0x80008000u) | ((high >> 4) & 0x07f007f0u);
    uint32_t pair;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(small), "r"(0x7b807b80u), "r"(0x80008000u));
    return pair;
}

__device__ __forceinline__ uint32_t word(const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Four words of a lane for each of its two rows, as they lie in memory.
template <typename T> struct Stored {
    static constexpr bool LOADED = true;
    static constexpr int STEPS = 2;
    static constexpr int X_LOADS = 1;
    static constexpr float FACTOR = 1.0f;
    using Type = T;
    static __device__ __forceinline__ void weight(uint32_t (&a)[STEPS][4], const uint4& low, const uint4& high) {
#pragma unroll
        for (int i = 0; i < STEPS; ++i) {
            a[i][0] = word(low, 2 * i), a[i][1] = word(high, 2 * i);
            a[i][2] = word(low, 2 * i + 1), a[i][3] = word(high, 2 * i + 1);
        }
    }
    static __device__ __forceinline__ void input(uint32_t (&b)[STEPS][2], const uint4 (&x)[X_LOADS]) {
#pragma unroll
        for (int i = 0; i < STEPS; ++i) b[i][0] = word(x[0], 2 * i), b[i][1] = word(x[0], 2 * i + 1);
    }
};

// A weight of e4m3 as pairs of T.
template <typename T> struct Widened {
    static constexpr bool LOADED = false;
    static constexpr int STEPS = 4;
    using Type = T;
    static __device__ __forceinline__ void weight(uint32_t (&a)[STEPS][4], const uint4& low, const uint4& high) {
#pragma unroll
        for (int i = 0; i < STEPS; ++i) {
            a[i][0] = pair_of(word(low, i), 0, T()), a[i][1] = pair_of(word(high, i), 0, T());
            a[i][2] = pair_of(word(low, i), 1, T()), a[i][3] = pair_of(word(high, i), 1, T());
        }
    }
};

// Against x of 16 bits, of which a lane reads twice the bytes.
template <typename T> struct Mixed : Widened<T> {
    static constexpr int X_LOADS = 2;
    static __device__ __forceinline__ void input(uint32_t (&b)[4][2], const uint4 (&x)[X_LOADS]) {
#pragma unroll
        for (int i = 0; i < 4; ++i) b[i][0] = word(x[i / 2], i % 2 * 2), b[i][1] = word(x[i / 2], i % 2 * 2 + 1);
    }
};

// Both e4m3 where the tensor cores do not know it: both as f16, 2^-8 each.
struct Both : Widened<f16> {
    static constexpr int X_LOADS = 1;
    static constexpr float FACTOR = 65536.0f;
    static __device__ __forceinline__ void input(uint32_t (&b)[4][2], const uint4 (&x)[X_LOADS]) {
#pragma unroll
        for (int i = 0; i < 4; ++i) b[i][0] = pair_of(word(x[0], i), 0, f16()), b[i][1] = pair_of(word(x[0], i), 1, f16());
    }
};

// How x of type X meets a weight of type W.
//   STEPS    products of a chunk
//   X_LOADS  accesses of 16 bytes to x, for one to each row of the weight
//   FACTOR   what the sum of a chunk must be multiplied by
//   LOADED   whether words of weights go to products as they were loaded
template <typename X, typename W> struct Fragment;
template <> struct Fragment<bf16, bf16> : Stored<bf16> {};
template <> struct Fragment<f16, f16> : Stored<f16> {};
template <> struct Fragment<bf16, e4m3> : Mixed<bf16> {
    static constexpr float FACTOR = 1.0f;
};
template <> struct Fragment<f16, e4m3> : Mixed<f16> {
    static constexpr float FACTOR = 256.0f;
};
#if __CUDA_ARCH__ >= 890
template <> struct Fragment<e4m3, e4m3> : Stored<e4m3> {};
#else
template <> struct Fragment<e4m3, e4m3> : Both {};
#endif
