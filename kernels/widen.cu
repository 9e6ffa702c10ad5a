// e4m3 with block scales as 16-bit numbers, for products that read them so.
//
//   values     e4m3 [rows, k], k of whole accesses; scales f32 [grid rows, grid_columns], blocks of whole accesses
//   grid_rows  u32 [rows], the row of scales of each row; none: its own
//   out        T [rows, k]
//
// A thread 16 elements. Grid (rows, k / 16 / 128), block 128. Bytes to move: values once in, twice as many out.
#include "common.cuh"

template <typename T>
__device__ __forceinline__ void widen_rows(const e4m3* values, const float* scales, const uint32_t* grid_rows, T* out,
                                           uint32_t k, uint32_t grid_columns, uint32_t block_columns,
                                           uint32_t column_offset) {
    constexpr int EACH = 16;
    const uint32_t row = blockIdx.x, column = (blockIdx.y * blockDim.x + threadIdx.x) * EACH;
    if (column >= k) return;
    const uint32_t grid_row = grid_rows == nullptr ? row : grid_rows[row];
    const float scale = scales[static_cast<size_t>(grid_row) * grid_columns + (column_offset + column) / block_columns];
    const size_t at = static_cast<size_t>(row) * k + column;
    const Vector<e4m3, EACH> from = *reinterpret_cast<const Vector<e4m3, EACH>*>(values + at);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        Vector<T, EACH / 2> to;
#pragma unroll
        for (int i = 0; i < EACH / 2; ++i) to.at[i] = narrow<T>(widen(from.at[half * EACH / 2 + i]) * scale);
        *reinterpret_cast<Vector<T, EACH / 2>*>(out + at + half * EACH / 2) = to;
    }
}

#define EXPORT_WIDEN(T)                                                                                             \
    extern "C" __global__ void __launch_bounds__(128)                                                               \
        widen_##T(const e4m3* values, const float* scales, const uint32_t* grid_rows, T* out, uint32_t k,           \
                  uint32_t grid_columns, uint32_t block_columns, uint32_t column_offset) {                          \
        widen_rows<T>(values, scales, grid_rows, out, k, grid_columns, block_columns, column_offset);               \
    }

EXPORT_WIDEN(f16)
EXPORT_WIDEN(bf16)
