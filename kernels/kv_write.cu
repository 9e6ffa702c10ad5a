// Head norms, rotation, and the way of keys and values into the paged cache.
//
// qkv [rows, (heads + 2 * kv_heads) * d]; weights of the norms [d] f32, both null where there are none; rotation
// [rows, d] f32 (cosines, then sines); slots [rows]; caches [slots, kv_heads, d] of type C. q is changed in place; k
// and v are rounded straight from f32 into the row's slot, and stay in qkv as they were.
//
// A group of lanes has one head of one row: lane i holds N elements at i * N of the first half and the N that rotate
// with them, d / 2 further. N is 16 bytes, or one element where halves do not start at multiples of 16 bytes (`_odd`);
// `group`, a power of two up to 32, is enough lanes for d / 2 elements, each up to RUNS times.
// Grid (rows, ceil(all heads / (threads / group))). Moves q once in and out, k and v once in, the cached once out.
#include "access.cuh"
#include "chain.cuh"

// Runs of N elements that a lane holds of half a head: all of 16 bytes are held at once, of single ones 128.
template <int N> __host__ __device__ constexpr int runs() { return N == 1 ? 4 : 1; }

__device__ __forceinline__ float group_sum(float x, uint32_t group) {
    for (uint32_t offset = group / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

// The runs of half a head that a lane holds.
template <int N> struct Half { float at[runs<N>()][N]; };

template <int N, typename T>
__device__ __forceinline__ void load_half(const T* from, uint32_t lane, uint32_t group, uint32_t half, Half<N>& x) {
#pragma unroll
    for (int run = 0; run < runs<N>(); ++run) {
        const uint32_t column = (run * group + lane) * N;
        if (column < half) {
            load(from + column, x.at[run]);
        } else {
#pragma unroll
            for (int i = 0; i < N; ++i) x.at[run][i] = 0.0f;
        }
    }
}

template <int N, typename T>
__device__ __forceinline__ void store_half(T* to, uint32_t lane, uint32_t group, uint32_t half, const Half<N>& x) {
#pragma unroll
    for (int run = 0; run < runs<N>(); ++run) {
        const uint32_t column = (run * group + lane) * N;
        if (column < half) store(to + column, x.at[run]);
    }
}

template <int N> __device__ __forceinline__ float squares(const Half<N>& x) {
    float total = 0.0f;
#pragma unroll
    for (int run = 0; run < runs<N>(); ++run)
#pragma unroll
        for (int i = 0; i < N; ++i) total += x.at[run][i] * x.at[run][i];
    return total;
}

template <int N> __device__ __forceinline__ void scale(Half<N>& x, float by, const Half<N>& weight) {
#pragma unroll
    for (int run = 0; run < runs<N>(); ++run)
#pragma unroll
        for (int i = 0; i < N; ++i) x.at[run][i] = x.at[run][i] * by * weight.at[run][i];
}

template <int N>
__device__ __forceinline__ void rotate(Half<N>& a, Half<N>& b, const Half<N>& cosine, const Half<N>& sine) {
#pragma unroll
    for (int run = 0; run < runs<N>(); ++run)
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const float x = a.at[run][i], y = b.at[run][i], c = cosine.at[run][i], s = sine.at[run][i];
            a.at[run][i] = x * c - y * s;
            b.at[run][i] = y * c + x * s;
        }
}

template <int N, typename T, typename C>
__device__ __forceinline__ void write_kv(T* qkv, const float* q_weight, float q_eps, const float* k_weight, float k_eps,
                                         const float* rotation, const uint32_t* slots, uint32_t heads,
                                         uint32_t kv_heads, uint32_t d, uint32_t group, C* k_cache, C* v_cache) {
    join_chain();
    const uint32_t row = blockIdx.x, half = d / 2, lane = threadIdx.x % group;
    const uint32_t all = heads + 2 * kv_heads;
    const uint32_t head = blockIdx.y * (blockDim.x / group) + threadIdx.x / group;
    // Lanes without a head stay: the others' sums need whole warps.
    const bool live = head < all;
    const uint32_t end = live ? half : 0;
    const bool is_q = head < heads, is_v = head >= heads + kv_heads;
    T* at = qkv + (static_cast<uint64_t>(row) * all + head) * d;
    Half<N> a, b;
    load_half(at, lane, group, end, a);
    load_half(at + half, lane, group, end, b);
    if (q_weight != nullptr) {
        const float mean = group_sum(squares(a) + squares(b), group) / static_cast<float>(d);
        if (!is_v) {
            const float* weight = is_q ? q_weight : k_weight;
            const float by = 1.0f / sqrtf(mean + (is_q ? q_eps : k_eps));
            Half<N> weights;
            load_half(weight, lane, group, end, weights);
            scale(a, by, weights);
            load_half(weight + half, lane, group, end, weights);
            scale(b, by, weights);
        }
    }
    if (!is_v) {
        const float* turns = rotation + static_cast<uint64_t>(row) * d;
        Half<N> cosine, sine;
        load_half(turns, lane, group, end, cosine);
        load_half(turns + half, lane, group, end, sine);
        rotate(a, b, cosine, sine);
    }
    if (is_q) {
        store_half(at, lane, group, end, a);
        store_half(at + half, lane, group, end, b);
    } else {
        const uint32_t kv_head = head - heads - (is_v ? kv_heads : 0);
        C* to = (is_v ? v_cache : k_cache) + (static_cast<uint64_t>(slots[row]) * kv_heads + kv_head) * d;
        store_half(to, lane, group, end, a);
        store_half(to + half, lane, group, end, b);
    }
}

#define EXPORT_WRITE_KV_AS(NAME, N, T, C)                                                                           \
    extern "C" __global__ void __launch_bounds__(128, 7)                                                            \
        NAME(T* qkv, const float* q_weight, float q_eps, const float* k_weight, float k_eps, const float* rotation, \
             const uint32_t* slots, uint32_t heads, uint32_t kv_heads, uint32_t d, uint32_t group, C* k_cache,      \
             C* v_cache) {                                                                                          \
        write_kv<N>(qkv, q_weight, q_eps, k_weight, k_eps, rotation, slots, heads, kv_heads, d, group, k_cache,     \
                    v_cache);                                                                                       \
    }

#define EXPORT_WRITE_KV(T, C)                                                                                       \
    EXPORT_WRITE_KV_AS(write_kv_##T##_##C, per_access<T>(), T, C)                                                   \
    EXPORT_WRITE_KV_AS(write_kv_odd_##T##_##C, 1, T, C)

#define EXPORT_WRITE_KV_FROM(T)                                                                                     \
    EXPORT_WRITE_KV(T, f32)                                                                                         \
    EXPORT_WRITE_KV(T, f16)                                                                                         \
    EXPORT_WRITE_KV(T, bf16)                                                                                        \
    EXPORT_WRITE_KV(T, e4m3)

EXPORT_WRITE_KV_FROM(f32)
EXPORT_WRITE_KV_FROM(f16)
EXPORT_WRITE_KV_FROM(bf16)
