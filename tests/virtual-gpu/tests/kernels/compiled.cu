// Kernels as a compiler makes them, for the interpreter's tests. Each is checked against plain Rust.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

// out[8 * i ..] = functions of x[i]: libdevice's code for each.
extern "C" __global__ void functions(const float *x, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i], *o = out + 8 * i;
    o[0] = expf(v);
    o[1] = logf(fabsf(v) + 0.5f);
    o[2] = tanhf(v);
    o[3] = sinf(v * 100.0f);
    o[4] = erff(v);
    o[5] = powf(fabsf(v) + 0.1f, 1.7f);
    o[6] = v / (1.0f + __expf(-v));
    o[7] = (float)__nv_fp8_e4m3(v);
}

// One warp a row: y = x / rms(x) * w, bf16 in pairs.
extern "C" __global__ void rms_norm(const __nv_bfloat162 *x, const __nv_bfloat162 *w, __nv_bfloat162 *y, int pairs) {
    const __nv_bfloat162 *row = x + (size_t)blockIdx.x * pairs;
    float sum = 0;
    for (int i = threadIdx.x; i < pairs; i += 32) {
        float2 v = __bfloat1622float2(row[i]);
        sum += v.x * v.x + v.y * v.y;
    }
    for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(0xffffffff, sum, offset);
    float scale = rsqrtf(sum / (2 * pairs) + 1e-6f);
    for (int i = threadIdx.x; i < pairs; i += 32) {
        float2 v = __bfloat1622float2(row[i]), g = __bfloat1622float2(w[i]);
        y[(size_t)blockIdx.x * pairs + i] = __floats2bfloat162_rn(v.x * scale * g.x, v.y * scale * g.y);
    }
}

// One block a head: attention of one query over `length` keys in pages of 16, head size 64, 128 threads.
extern "C" __global__ void attention(const __nv_bfloat16 *q, const __nv_bfloat16 *k, const __nv_bfloat16 *v, const int *pages,
                                     float *out, int length, int heads) {
    __shared__ float scores[1024], query[64], reduced[4], part[2][64];
    int h = blockIdx.x, t = threadIdx.x;
    if (t < 64) query[t] = __bfloat162float(q[h * 64 + t]) * 0.125f;
    __syncthreads();
    float most = -INFINITY;
    for (int i = t; i < length; i += 128) {
        const __nv_bfloat16 *key = k + ((size_t)(pages[i / 16] * 16 + i % 16) * heads + h) * 64;
        float s = 0;
        for (int d = 0; d < 64; d += 8) {
            uint4 raw = *(const uint4 *)(key + d);
            const __nv_bfloat162 *two = (const __nv_bfloat162 *)&raw;
            for (int j = 0; j < 4; j++) {
                float2 f = __bfloat1622float2(two[j]);
                s += f.x * query[d + 2 * j] + f.y * query[d + 2 * j + 1];
            }
        }
        scores[i] = s;
        most = fmaxf(most, s);
    }
    for (int offset = 16; offset; offset /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, offset));
    if (t % 32 == 0) reduced[t / 32] = most;
    __syncthreads();
    most = fmaxf(fmaxf(reduced[0], reduced[1]), fmaxf(reduced[2], reduced[3]));
    __syncthreads();
    float sum = 0;
    for (int i = t; i < length; i += 128) sum += scores[i] = __expf(scores[i] - most);
    for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(0xffffffff, sum, offset);
    if (t % 32 == 0) reduced[t / 32] = sum;
    __syncthreads();
    sum = reduced[0] + reduced[1] + reduced[2] + reduced[3];
    float o = 0;
    for (int i = t / 64; i < length; i += 2)
        o += scores[i] * __bfloat162float(v[((size_t)(pages[i / 16] * 16 + i % 16) * heads + h) * 64 + t % 64]);
    part[t / 64][t % 64] = o;
    __syncthreads();
    if (t < 64) out[h * 64 + t] = (part[0][t] + part[1][t]) / sum;
}

// C (m x n) = A (m x k) B^T (n x k): a warp a tile of 16 x 8, k in steps of 32 through cp.async, two stages.
extern "C" __global__ void product(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int n, int k) {
    __shared__ __align__(16) __nv_bfloat16 ta[2][16 * 40], tb[2][8 * 40];
    int lane = threadIdx.x, row = blockIdx.y * 16, column = blockIdx.x * 8;
    float d[4] = {};
    auto fetch = [&](int stage, int at) {
        for (int i = lane; i < 96; i += 32) {
            int r = i / 4, s = i % 4 * 8;
            const __nv_bfloat16 *from = r < 16 ? a + (size_t)(row + r) * k : b + (size_t)(column + r - 16) * k;
            __nv_bfloat16 *to = r < 16 ? ta[stage] + r * 40 : tb[stage] + (r - 16) * 40;
            unsigned target = (unsigned)__cvta_generic_to_shared(to + s);
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(from + at + s));
        }
        asm volatile("cp.async.commit_group;");
    };
    fetch(0, 0);
    for (int at = 0, stage = 0; at < k; at += 32, stage ^= 1) {
        if (at + 32 < k) {
            fetch(stage ^ 1, at + 32);
            asm volatile("cp.async.wait_group 1;");
        } else {
            asm volatile("cp.async.wait_group 0;");
        }
        __syncthreads();
        for (int step = 0; step < 32; step += 16) {
            unsigned fa[4], fb[2];
            unsigned pa = (unsigned)__cvta_generic_to_shared(ta[stage] + (lane % 16) * 40 + step + lane / 16 * 8);
            unsigned pb = (unsigned)__cvta_generic_to_shared(tb[stage] + (lane % 8) * 40 + step + lane / 8 % 2 * 8);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3]) : "r"(pa));
            asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(fb[0]), "=r"(fb[1]) : "r"(pb));
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                         : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                         : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
        }
        __syncthreads();
    }
    float *to = c + (size_t)(row + lane / 4) * n + column + lane % 4 * 2;
    *(float2 *)to = make_float2(d[0], d[1]);
    *(float2 *)(to + 8 * n) = make_float2(d[2], d[3]);
}
