// Rotations: the cosines and sines of position * inverse frequency.
//
// positions [rows], frequencies [half] f64, out [rows, 2 * half] f32: cosines, then sines. One thread an angle, in f64:
// an f32 angle at position 100,000 is off by 1/250 of a radian. In half turns, whose whole part goes without a table.
// Grid (rows, ceil(half / threads)). Moves the result once out.
#include "common.cuh"

constexpr double HALF_TURNS = 0.31830988618379067154;  // 1 / pi

extern "C" __global__ void rope_f32(const uint32_t* positions, const double* frequencies, double factor, uint32_t half,
                                    float* out) {
    const uint32_t i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= half) return;
    double sine, cosine;
    sincospi(positions[blockIdx.x] * frequencies[i] * HALF_TURNS, &sine, &cosine);
    float* row = out + static_cast<uint64_t>(blockIdx.x) * 2 * half;
    row[i] = static_cast<float>(cosine * factor);
    row[half + i] = static_cast<float>(sine * factor);
}
