// Pairs of an e4m3 cache as activations.
#pragma once

#include "attention.cuh"

// Two neighbours, the first in the low byte.
__device__ __forceinline__ __half2 widen_pair(uint32_t two) {
#if __CUDA_ARCH__ >= 890
    return __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(two), __NV_E4M3);
#else
    // Exponent and mantissa where f16 has them, then times 2^8 for its other bias: exact, subnormal numbers too.
    const uint32_t spread = (two & 0xff) << 8 | (two & 0xff00) << 16;
    uint32_t bits = (spread & 0x80008000u) | (spread & 0x7f007f00u) >> 1;
    // NaN has all of these bits.
    if ((two & 0x7f) == 0x7f) bits |= 0x7c00u;
    if ((two & 0x7f00) == 0x7f00) bits |= 0x7c000000u;
    return __hmul2(*reinterpret_cast<__half2*>(&bits), __float2half2_rn(256.0f));
#endif
}

template <typename T> __device__ __forceinline__ Vector<T, 2> from_pair(uint32_t two) {
    const __half2 both = widen_pair(two);
    if constexpr (same<T, f16>) {
        return {both.x, both.y};
    } else if constexpr (same<T, bf16>) {
        const __nv_bfloat162 narrowed = __float22bfloat162_rn(__half22float2(both));
        return {narrowed.x, narrowed.y};
    } else {
        const float2 wide = __half22float2(both);
        return {wide.x, wide.y};
    }
}
