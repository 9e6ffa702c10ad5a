// Rounds activations to e4m3, a scale for each row and each block of the whole weight's columns: max|x| / 448, as
// the published checkpoints' `act_quant` does (DeepSeek-V3 report, section 3.3). Zeros have scale 0.
//
//   x       [rows, k]
//   count   how many rows there are, u32 on the device; none: one for each blockIdx.x
//   values  e4m3 [rows, k]
//   scales  f32 [rows, blocks]; block b holds columns from b * block_columns - column_offset
//
// One warp a block of columns. Grid (rows, blocks / 8), block 256. Bytes to move: x once, values once; a block of x
// is read twice, the second time from the cache.
#include "common.cuh"

template <typename T>
__device__ __forceinline__ void quantize(const T* x, const uint32_t* count, e4m3* values, float* scales, uint32_t k,
                                         uint32_t blocks, uint32_t block_columns, uint32_t column_offset) {
    constexpr float MOST = 448.0f;
    const uint32_t row = blockIdx.x, block = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32;
    if (block >= blocks || (count != nullptr && row >= *count)) return;
    const uint32_t first = block == 0 ? 0 : block * block_columns - column_offset;
    const uint32_t end = min(k, (block + 1) * block_columns - column_offset);
    x += static_cast<size_t>(row) * k;
    values += static_cast<size_t>(row) * k;
    float largest = 0.0f;
    for (uint32_t i = first + threadIdx.x % 32; i < end; i += 32) largest = fmaxf(largest, fabsf(widen(x[i])));
    const float scale = warp_max(largest) / MOST;
    const float divisor = scale == 0.0f ? 1.0f : scale;
    for (uint32_t i = first + threadIdx.x % 32; i < end; i += 32) values[i] = narrow<e4m3>(widen(x[i]) / divisor);
    if (threadIdx.x % 32 == 0) scales[static_cast<size_t>(row) * blocks + block] = scale;
}

#define EXPORT_QUANTIZE(suffix, T)                                                                             \
    extern "C" __global__ void quantize_##suffix(const T* x, const uint32_t* count, e4m3* values, float* scales, \
                                                 uint32_t k, uint32_t blocks, uint32_t block_columns,          \
                                                 uint32_t column_offset) {                                     \
        quantize<T>(x, count, values, scales, k, blocks, block_columns, column_offset);                        \
    }
EXPORT_QUANTIZE(f32, float)
EXPORT_QUANTIZE(f16, f16)
EXPORT_QUANTIZE(bf16, bf16)
