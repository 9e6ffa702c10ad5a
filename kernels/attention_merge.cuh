// Parts of one result: of a block's warps, and of the blocks that share a sequence's context. Each part is a weighted
// sum of values in units of 2^peak, and the total of its weights.
#pragma once

#include "attention_softmax.cuh"

// What the last block must see of the others'; tests compile these kernels without one after the other, and see them
// fail.
enum Order { COMPLETE, BLOCK_HAS_WRITTEN, RELEASE, ACQUIRE };
#ifndef LEFT_OUT
#define LEFT_OUT COMPLETE
#endif

// What blocks leave for the last of them.
struct Parts {
    // Weighted sums [sequences, splits, heads, DIM], their peaks and totals [sequences, splits, heads, 2].
    float *sums, *units;
    // How many splits are done [sequences, kv_heads * tiles]; 0 before each launch, and behind it.
    uint32_t* arrived;

    __device__ __forceinline__ size_t of(int sequence, int split, int head, int heads) const {
        return (static_cast<size_t>(sequence) * gridDim.x + split) * heads + head;
    }

    // Counts one: those that came before.
    static __device__ __forceinline__ uint32_t arrive(uint32_t* counter) {
        uint32_t before;
        if constexpr (LEFT_OUT == RELEASE) {
            asm volatile("atom.acquire.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
        } else if constexpr (LEFT_OUT == ACQUIRE) {
            asm volatile("atom.release.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
        } else {
            asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
        }
        return before;
    }
};

// Four columns of a row, from parts that are added one by one.
struct Merged {
    float peak, total, sums[4];

    __device__ __forceinline__ explicit Merged(float peak) : peak(peak), total(0.0f), sums{0.0f, 0.0f, 0.0f, 0.0f} {}

    __device__ __forceinline__ void add(float its_peak, float its_total, const float4& its_sums) {
        const float weight = power_of_2(its_peak - peak);
        total = fmaf(weight, its_total, total);
        sums[0] = fmaf(weight, its_sums.x, sums[0]);
        sums[1] = fmaf(weight, its_sums.y, sums[1]);
        sums[2] = fmaf(weight, its_sums.z, sums[2]);
        sums[3] = fmaf(weight, its_sums.w, sums[3]);
    }

    // head_dim is even.
    template <typename T> __device__ __forceinline__ void write(T* row, int column, int head_dim) const {
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
            if (column + i >= head_dim) continue;
            *reinterpret_cast<Vector<T, 2>*>(row + column + i) =
                {narrow<T>(sums[i] / total), narrow<T>(sums[i + 1] / total)};
        }
    }
};

template <typename T, typename C>
__device__ __forceinline__ T* result_of(const Attention<T, C>& a, const Packed& rows, int head) {
    return a.out + (static_cast<size_t>(rows.row) * a.heads + head) * a.head_dim;
}

// Writes the block's result, or its part. `memory` begins with a warp's own for each, `apart` bytes.
template <typename T, typename C, int DIM, int WARPS>
__device__ __forceinline__ void merge_warps(const Attention<T, C>& a, const Packed& rows,
                                            const Running<DIM, 1>& running, char* memory, int apart,
                                            const Splits& splits, const Parts& parts) {
    __shared__ float peaks[WARPS][TILE_ROWS], totals[WARPS][TILE_ROWS];
    using Sums = Place<float, DIM, 32>;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Sums place(lane / 4, 0);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        if (lane % 4 == 0) {
            peaks[warp][lane / 4 + r * 8] = running.peak[0][r];
            totals[warp][lane / 4 + r * 8] = running.sum[0][r];
        }
#pragma unroll
        for (int j = 0; j < DIM / 8; ++j) {
            *reinterpret_cast<Vector<float, 2>*>(memory + warp * apart + place.at(r * 8, j) + lane % 4 * 8) =
                {running.out[0][j][2 * r], running.out[0][j][2 * r + 1]};
        }
    }
    __syncthreads();
    const int heads = min(TILE_ROWS, rows.count - rows.first);
    for (int at = threadIdx.x; at < heads * (DIM / 4); at += WARPS * 32) {
        const int row = at / (DIM / 4), column = at % (DIM / 4) * 4, head = rows.head_of(rows.first + row);
        float peak = peaks[0][row];
#pragma unroll
        for (int w = 1; w < WARPS; ++w) peak = fmaxf(peak, peaks[w][row]);
        Merged merged(peak);
        const char* from = memory + Sums(row, column / 8).start + column % 8 * sizeof(float);
#pragma unroll
        for (int w = 0; w < WARPS; ++w)
            merged.add(peaks[w][row], totals[w][row], *reinterpret_cast<const float4*>(from + w * apart));
        if (splits.used == 1) {
            merged.write(result_of(a, rows, head), column, a.head_dim);
        } else {
            const size_t part = parts.of(rows.sequence, blockIdx.x, head, a.heads);
            *reinterpret_cast<float4*>(parts.sums + part * DIM + column) =
                make_float4(merged.sums[0], merged.sums[1], merged.sums[2], merged.sums[3]);
            if (column == 0) *reinterpret_cast<Vector<float, 2>*>(parts.units + part * 2) = {merged.peak, merged.total};
        }
    }
}

// The last block of a sequence and kv head writes their result, from memory of 16 * splits units at least.
template <typename T, typename C, int DIM, int WARPS>
__device__ __forceinline__ void merge_splits(const Attention<T, C>& a, const Packed& rows, char* memory,
                                             const Splits& splits, const Parts& parts) {
    using Unit = Vector<float, 2>;
    __shared__ bool last;
    uint32_t* counter = parts.arrived + blockIdx.z * gridDim.y + blockIdx.y;
    if constexpr (LEFT_OUT != BLOCK_HAS_WRITTEN) __syncthreads();
    if (threadIdx.x == 0) last = Parts::arrive(counter) + 1 == static_cast<uint32_t>(splits.used);
    __syncthreads();
    if (!last) return;
    if (threadIdx.x == 0) *counter = 0;
    const int heads = min(TILE_ROWS, rows.count - rows.first), first_head = rows.head_of(rows.first);
    Unit* units = reinterpret_cast<Unit*>(memory);
    for (int at = threadIdx.x; at < heads * splits.used; at += WARPS * 32) {
        const size_t part = parts.of(rows.sequence, at / heads, first_head + at % heads, a.heads);
        units[at] = *reinterpret_cast<const Unit*>(parts.units + part * 2);
    }
    __syncthreads();
    for (int at = threadIdx.x; at < heads * (DIM / 4); at += WARPS * 32) {
        const int row = at / (DIM / 4), column = at % (DIM / 4) * 4, head = first_head + row;
        float peak = -INFINITY;
        for (int s = 0; s < splits.used; ++s) peak = fmaxf(peak, units[s * heads + row].at[0]);
        Merged merged(peak);
        // Several parts are on their way at once.
#pragma unroll 8
        for (int s = 0; s < splits.used; ++s) {
            const size_t part = parts.of(rows.sequence, s, head, a.heads);
            const Unit unit = units[s * heads + row];
            const float4 sums = *reinterpret_cast<const float4*>(parts.sums + part * DIM + column);
            merged.add(unit.at[0], unit.at[1], sums);
        }
        merged.write(result_of(a, rows, head), column, a.head_dim);
    }
}
