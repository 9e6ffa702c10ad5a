// Choices by expert: which rows each held expert computes, in the order of the rows, and the tiles of products over
// them. No host knows the routes, so lists are as long as the worst case needs.
//
//   experts  u32 [choices], of the model
//   order    u32 [choices]: choices (row * top_k + place) of the first held expert, then of the second, ...
//   tiles    {expert here, first of `order`, length, 0}: `num_short` of up to `short_rows` rows, then `num_tall` of up
//            to `tall_rows`; of length 0 beyond the last of each
//   count    u32 [2]: how many of `order` there are; how many experts were ever chosen by anyone, summed over calls
//
// An expert's rows are in tall tiles; what no whole one holds is one short tile, where that has room for it. So all
// weights are read once for each tile, and few rows cost a short one whatever the others' load is.
//
// One block a held expert, which counts all choices for itself (integers: no order matters) and writes its part.
// Dynamic shared memory: 4 * held bytes. Grid (held), block 1024.
#include "common.cuh"

struct Tiles {
    uint32_t whole, rest;
    bool is_short;

    __device__ __forceinline__ Tiles(uint32_t rows, uint32_t short_rows, uint32_t tall_rows)
        : whole(rows / tall_rows), rest(rows % tall_rows), is_short(rest <= short_rows) {}
    __device__ __forceinline__ uint32_t num_short() const { return rest > 0 && is_short; }
    __device__ __forceinline__ uint32_t num_tall() const { return whole + (rest > 0 && !is_short); }
};

extern "C" __global__ void __launch_bounds__(1024)
    group(const uint32_t* experts, uint32_t* order, uint4* tiles, uint32_t* count, uint32_t choices, uint32_t first,
          uint32_t held, uint32_t short_rows, uint32_t num_short, uint32_t tall_rows, uint32_t num_tall) {
    extern __shared__ uint32_t counts[];
    __shared__ uint32_t before[32];
    __shared__ uint32_t begins[3];
    const uint32_t expert = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (uint32_t e = threadIdx.x; e < held; e += blockDim.x) counts[e] = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < choices; i += blockDim.x) {
        const uint32_t local = experts[i] - first;
        if (local < held) atomicAdd(&counts[local], 1u);
    }
    __syncthreads();
    if (warp == 0) {
        uint32_t rows_before = 0, short_before = 0, tall_before = 0;
        for (uint32_t e = lane; e < expert; e += 32) {
            const Tiles its(counts[e], short_rows, tall_rows);
            rows_before += counts[e], short_before += its.num_short(), tall_before += its.num_tall();
        }
        rows_before = __reduce_add_sync(0xffffffffu, rows_before);
        short_before = __reduce_add_sync(0xffffffffu, short_before);
        tall_before = __reduce_add_sync(0xffffffffu, tall_before);
        if (lane == 0) begins[0] = rows_before, begins[1] = short_before, begins[2] = tall_before;
    }
    __syncthreads();
    if (expert == 0 && warp == 1) {
        uint32_t chosen = 0;
        for (uint32_t e = lane; e < held; e += 32) chosen += counts[e] > 0;
        chosen = __reduce_add_sync(0xffffffffu, chosen);
        if (lane == 0) count[1] += chosen;
    }
    uint32_t next = begins[0];
    const uint32_t mine = counts[expert], first_short = begins[1], first_tall = begins[2];
    const Tiles own(mine, short_rows, tall_rows);
    const uint32_t end_short = first_short + own.num_short(), end_tall = first_tall + own.num_tall();
    uint4* const tall = tiles + num_short;
    if (own.num_short() > 0 && threadIdx.x == 0) {
        tiles[first_short] = make_uint4(expert, next + own.whole * tall_rows, own.rest, 0);
    }
    for (uint32_t i = first_tall + threadIdx.x; i < end_tall; i += blockDim.x) {
        const uint32_t start = (i - first_tall) * tall_rows;
        tall[i] = make_uint4(expert, next + start, min(tall_rows, mine - start), 0);
    }
    if (expert == held - 1) {
        const uint4 none = make_uint4(0, 0, 0, 0);
        for (uint32_t i = end_short + threadIdx.x; i < num_short; i += blockDim.x) tiles[i] = none;
        for (uint32_t i = end_tall + threadIdx.x; i < num_tall; i += blockDim.x) tall[i] = none;
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
