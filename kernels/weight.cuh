// Weights of a product and the rows that meet them: what all kernels of products are given. See product.cuh.
#pragma once

#include "common.cuh"

struct Weight {
    const void* values;
    // Of e4m3: f32 [grid rows, grid columns], and the grid row of each row.
    const float* scales;
    const uint32_t* grid_rows;
};

#define PRODUCT_PARAMETERS                                                                                       \
    const void *x, const float *x_scales, const Weight *weights, const uint4 *tiles, const uint32_t *order,      \
        uint32_t divisor, uint32_t scatter, const float *bias, void *out, uint32_t out_type, uint32_t rows,      \
        uint32_t n, uint32_t k, uint32_t grid_columns, uint32_t block_columns, uint32_t column_offset
#define PRODUCT_ARGUMENTS                                                                                     \
    x, x_scales, weights, tiles, order, divisor, scatter, bias, out, out_type, rows, n, k, grid_columns,      \
        block_columns, column_offset

struct Tile { uint32_t group, first, rows; };

// That of blockIdx.y; without a list, the next `size` of `rows`.
__device__ __forceinline__ Tile tile_of(const uint4* tiles, uint32_t size, uint32_t rows) {
    if (tiles != nullptr) {
        const uint4 tile = tiles[blockIdx.y];
        return {tile.x, tile.y, tile.z};
    }
    const uint32_t first = blockIdx.y * size;
    return {0, first, min(size, rows - first)};
}

__device__ __forceinline__ uint32_t source_row(const uint32_t* order, uint32_t divisor, uint32_t row) {
    return divisor == 0 ? row : order[row] / divisor;
}

__device__ __forceinline__ uint32_t target_row(const uint32_t* order, uint32_t scatter, uint32_t row) {
    return scatter ? order[row] : row;
}

__device__ __forceinline__ float bias_of(const float* bias, uint32_t feature) {
    return bias == nullptr ? 0.0f : bias[feature];
}

// As type 0: f32, 1: f16, 2: bf16.
__device__ __forceinline__ void store(void* out, uint32_t type, size_t index, float value) {
    if (type == 0) {
        static_cast<float*>(out)[index] = value;
    } else if (type == 1) {
        static_cast<f16*>(out)[index] = narrow<f16>(value);
    } else {
        static_cast<bf16*>(out)[index] = narrow<bf16>(value);
    }
}
