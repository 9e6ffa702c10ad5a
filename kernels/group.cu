// Choices by expert: which rows each held expert computes, in the order of the rows, and the tiles of products over
// them. No host knows the routes, so lists are as long as the worst case needs.
//
//   experts  u32 [choices], of the model
//   order    u32 [choices]: choices (row * top_k + place) of the first held expert, then of the second, ...
//   tiles    {expert here, first of `order`, length, 0} [tiles]; of length 0 beyond the last
//   count    u32 [2]: how many of `order` there are; how many experts were ever chosen by anyone, summed over calls
//
// One block a held expert, which counts all choices for itself (integers: no order matters) and writes its part.
// Dynamic shared memory: 4 * held bytes. Grid (held), block 1024.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(1024)
    group(const uint32_t* experts, uint32_t* order, uint4* tiles, uint32_t* count, uint32_t choices, uint32_t first,
          uint32_t held, uint32_t tile_rows, uint32_t num_tiles) {
    extern __shared__ uint32_t counts[];
    __shared__ uint32_t before[32];
    __shared__ uint32_t begins[2];
    const uint32_t expert = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (uint32_t e = threadIdx.x; e < held; e += blockDim.x) counts[e] = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < choices; i += blockDim.x) {
        const uint32_t local = experts[i] - first;
        if (local < held) atomicAdd(&counts[local], 1u);
    }
    __syncthreads();
    if (warp == 0) {
        uint32_t rows_before = 0, tiles_before = 0;
        for (uint32_t e = lane; e < expert; e += 32) {
            rows_before += counts[e];
            tiles_before += (counts[e] + tile_rows - 1) / tile_rows;
        }
        rows_before = __reduce_add_sync(0xffffffffu, rows_before);
        tiles_before = __reduce_add_sync(0xffffffffu, tiles_before);
        if (lane == 0) begins[0] = rows_before, begins[1] = tiles_before;
    }
    __syncthreads();
    if (expert == 0 && warp == 1) {
        uint32_t chosen = 0;
        for (uint32_t e = lane; e < held; e += 32) chosen += counts[e] > 0;
        chosen = __reduce_add_sync(0xffffffffu, chosen);
        if (lane == 0) count[1] += chosen;
    }
    uint32_t next = begins[0];
    const uint32_t mine = counts[expert], first_tile = begins[1];
    const uint32_t end_tile = first_tile + (mine + tile_rows - 1) / tile_rows;
    for (uint32_t i = first_tile + threadIdx.x; i < end_tile; i += blockDim.x) {
        const uint32_t start = (i - first_tile) * tile_rows;
        tiles[i] = make_uint4(expert, next + start, min(tile_rows, mine - start), 0);
    }
    if (expert == held - 1) {
        for (uint32_t i = end_tile + threadIdx.x; i < num_tiles; i += blockDim.x) tiles[i] = make_uint4(0, 0, 0, 0);
        if (threadIdx.x == 0) *count = next + mine;
    }
    if (mine == 0) return;
    for (uint32_t start = 0; start < choices; start += blockDim.x) {
        const uint32_t i = start + threadIdx.x;
        const bool here = i < choices && experts[i] - first == expert;
        const uint32_t lanes = __ballot_sync(0xffffffffu, here);
        if (lane == 0) before[warp] = __popc(lanes);
        __syncthreads();
        uint32_t place = next + __popc(lanes & ((1u << lane) - 1));
        for (uint32_t w = 0; w < blockDim.x / 32; ++w) {
            if (w < warp) place += before[w];
            next += before[w];
        }
        if (here) order[place] = i;
        __syncthreads();
    }
}
