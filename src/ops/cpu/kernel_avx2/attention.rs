//! Attention with AVX2: keys and values widened as they arrive, keys turned so that a vector holds one
//! element of eight of them, and up to six queries a reading.

// Sums are small arrays that live in registers: only constant bounds and plain indices keep them there.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::array::from_fn;

use super::super::attention_kernel::{
    AttentionKernel, CHAIN, LANES, SPAN, Scores, Softmax, TILE_POSITIONS, even_rows, for_rows,
};
use super::super::kernel_portable::softmax;
use super::super::panel::{CACHE_LINE, PanelElement};
use super::{Avx2, widen};

/// Rows of q that share one reading of a key or value.
const QUERY_ROWS: usize = 6;

/// Vectors of columns at once for a count of rows: 8 to 12 sums.
const fn vectors(rows: usize) -> usize {
    match rows {
        1 => 8,
        2 | 3 => 4,
        _ => 2,
    }
}

/// Calls `$call` with the constant `$count` for a count of rows.
macro_rules! by_rows {
    ($rows:expr, $count:ident => $call:expr) => {
        for_rows!($rows, $count => $call, [1 2 3 4 5] 6)
    };
}

impl AttentionKernel for Avx2 {
    fn gather<KV: PanelElement>(
        self,
        cache: &[KV],
        starts: &[usize],
        next: &[usize],
        head_dim: usize,
        tile: &mut [f32],
    ) {
        // SAFETY: `self` proves the features.
        unsafe { widen_rows(cache, starts, next, head_dim, tile) }
    }

    fn gather_keys<KV: PanelElement>(
        self,
        cache: &[KV],
        starts: &[usize],
        next: &[usize],
        head_dim: usize,
        tile: &mut [f32],
    ) {
        assert!(!starts.is_empty() && starts.len() <= TILE_POSITIONS);
        assert!(tile.len() >= TILE_POSITIONS * head_dim);
        // SAFETY: `self` proves the features; the lines above hold the extents.
        unsafe { widen_columns(cache, starts, next, head_dim, tile) }
    }

    fn scores(self, q: &[f32], k: &[f32], head_dim: usize, first: usize, scores: &mut [Scores]) {
        assert!(k.len() >= TILE_POSITIONS * head_dim && q.len() >= scores.len() * head_dim);
        assert!(first + TILE_POSITIONS <= SPAN);
        let rows = even_rows(scores.len(), QUERY_ROWS);
        for (scores, q) in scores.chunks_mut(rows).zip(q.chunks(rows * head_dim)) {
            // SAFETY: `self` proves the features; the lines above hold the extents.
            unsafe { by_rows!(scores.len(), R => dots::<R>(q, k, head_dim, first, scores)) }
        }
    }

    fn softmax(self, scores: &mut [Scores], filled: usize, states: &mut [Softmax]) {
        // SAFETY: `self` proves the features.
        unsafe { softmax_rows(scores, filled, states) }
    }

    fn weigh(
        self,
        weights: &[Scores],
        first: usize,
        states: &[Softmax],
        v: &[f32],
        head_dim: usize,
        sums: &mut [f32],
    ) {
        assert!(first + TILE_POSITIONS <= SPAN);
        assert!(v.len() <= TILE_POSITIONS * head_dim && states.len() == weights.len());
        assert!(sums.len() >= weights.len() * head_dim);
        let rows = even_rows(weights.len(), QUERY_ROWS);
        let groups = weights.chunks(rows).zip(states.chunks(rows));
        for ((weights, states), sums) in groups.zip(sums.chunks_mut(rows * head_dim)) {
            // SAFETY: `self` proves the features; the lines above hold the extents.
            unsafe {
                by_rows!(weights.len(), R => {
                    add_values::<R, { vectors(R) }>(weights, first, states, v, head_dim, sums)
                })
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn widen_rows<KV: PanelElement>(
    cache: &[KV],
    starts: &[usize],
    next: &[usize],
    head_dim: usize,
    tile: &mut [f32],
) {
    for (j, (row, &start)) in tile.chunks_exact_mut(head_dim).zip(starts).enumerate() {
        ask(cache, next.get(j), head_dim);
        let (values, odd_values) = cache[start..start + head_dim].as_chunks::<LANES>();
        let (wide, odd) = row.as_chunks_mut::<LANES>();
        for (wide, values) in wide.iter_mut().zip(values) {
            // SAFETY: both are arrays of 8.
            unsafe { _mm256_storeu_ps(wide.as_mut_ptr(), widen(values.as_ptr())) };
        }
        for (wide, value) in odd.iter_mut().zip(odd_values) {
            *wide = value.to_f32();
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn softmax_rows(scores: &mut [Scores], filled: usize, states: &mut [Softmax]) {
    for (scores, state) in scores.iter_mut().zip(states) {
        softmax::<true>(&mut scores[..filled], state);
    }
}

/// Asks memory for what lies from `next` on.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub fn ask<KV>(cache: &[KV], next: Option<&usize>, head_dim: usize) {
    let Some(&next) = next else { return };
    for line in (next..next + head_dim).step_by(CACHE_LINE / size_of::<KV>()) {
        _mm_prefetch::<_MM_HINT_T0>(cache.as_ptr().wrapping_add(line).cast());
    }
}

/// # Safety
/// `tile` holds 16 columns of `head_dim`; there are one to 16 `starts`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen_columns<KV: PanelElement>(
    cache: &[KV],
    starts: &[usize],
    next: &[usize],
    head_dim: usize,
    tile: &mut [f32],
) {
    let rows: [&[KV]; TILE_POSITIONS] = from_fn(|j| {
        ask(cache, next.get(j), head_dim);
        let start = *starts.get(j).unwrap_or(&starts[0]);
        &cache[start..start + head_dim]
    });
    let whole = head_dim - head_dim % LANES;
    for first in (0..TILE_POSITIONS).step_by(LANES) {
        for i in (0..whole).step_by(LANES) {
            // SAFETY: 8 elements from `i` of each row, 8 columns of 8 rows of the tile.
            unsafe {
                let columns = turn(from_fn(|j| widen(rows[first + j].as_ptr().add(i))));
                for (c, column) in columns.into_iter().enumerate() {
                    let at = tile.as_mut_ptr().add((i + c) * TILE_POSITIONS + first);
                    _mm256_storeu_ps(at, column);
                }
            }
        }
    }
    for i in whole..head_dim {
        for (j, row) in rows.iter().enumerate() {
            tile[i * TILE_POSITIONS + j] = row[i].to_f32();
        }
    }
}

/// Eight rows of eight become their columns.
#[target_feature(enable = "avx2")]
#[inline]
pub fn turn(rows: [__m256; LANES]) -> [__m256; LANES] {
    // In each half of a vector: two elements of two rows, then one of four.
    let pairs: [__m256; LANES] = from_fn(|i| {
        let (a, b) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
        match i % 2 {
            0 => _mm256_unpacklo_ps(a, b),
            _ => _mm256_unpackhi_ps(a, b),
        }
    });
    let fours: [__m256; LANES] = from_fn(|i| {
        let (a, b) = (
            pairs[i / 4 * 4 + i % 4 / 2],
            pairs[i / 4 * 4 + i % 4 / 2 + 2],
        );
        match i % 2 {
            0 => _mm256_shuffle_ps::<0x44>(a, b),
            _ => _mm256_shuffle_ps::<0xEE>(a, b),
        }
    });
    from_fn(|i| match i / 4 {
        0 => _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]),
        _ => _mm256_permute2f128_ps::<0x31>(fours[i - 4], fours[i]),
    })
}

/// `scores[r][column + j] = q[r] · k[j]`, 16 positions side by side.
///
/// # Safety
/// `R` rows of `q` and of `scores`, 16 columns of `k`; `column + 16 <= SPAN`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dots<const R: usize>(
    q: &[f32],
    k: &[f32],
    head_dim: usize,
    column: usize,
    scores: &mut [Scores],
) {
    // SAFETY: elements end at `head_dim`, positions at 16, within the caller's extents.
    unsafe {
        for start in (0..head_dim).step_by(CHAIN) {
            let mut sums = [[_mm256_setzero_ps(); 2]; R];
            for i in start..head_dim.min(start + CHAIN) {
                let keys = k.as_ptr().add(i * TILE_POSITIONS);
                let keys = [_mm256_loadu_ps(keys), _mm256_loadu_ps(keys.add(LANES))];
                for r in 0..R {
                    let q = _mm256_broadcast_ss(&*q.as_ptr().add(r * head_dim + i));
                    for half in 0..2 {
                        sums[r][half] = _mm256_fmadd_ps(q, keys[half], sums[r][half]);
                    }
                }
            }
            for r in 0..R {
                for half in 0..2 {
                    let at = scores[r].as_mut_ptr().add(column + half * LANES);
                    let before = match start {
                        0 => _mm256_setzero_ps(),
                        _ => _mm256_loadu_ps(at),
                    };
                    _mm256_storeu_ps(at, _mm256_add_ps(before, sums[r][half]));
                }
            }
        }
    }
}

/// `sums[r] = sums[r] * rescale[r] + Σ_j weights[r][first + j] * v[j]`, in order of j; `rescale` only
/// where `first` is 0.
///
/// # Safety
/// `R` rows of `weights`, `states` and `sums`, at most 16 of `v`; `first + 16 <= SPAN`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_values<const R: usize, const V: usize>(
    weights: &[Scores],
    first: usize,
    states: &[Softmax],
    v: &[f32],
    head_dim: usize,
    sums: &mut [f32],
) {
    // SAFETY: each call covers columns below `head_dim`, within the caller's extents.
    unsafe {
        let mut column = 0;
        while column + V * LANES <= head_dim {
            add_columns::<R, V>(weights, first, states, v, head_dim, column, sums);
            column += V * LANES;
        }
        while column + LANES <= head_dim {
            add_columns::<R, 1>(weights, first, states, v, head_dim, column, sums);
            column += LANES;
        }
        for column in column..head_dim {
            for r in 0..R {
                let sum = &mut sums[r * head_dim + column];
                *sum *= rescale(&states[r], first);
                for (weight, v) in weights[r][first..].iter().zip(v.chunks_exact(head_dim)) {
                    *sum = weight.mul_add(v[column], *sum);
                }
            }
        }
    }
}

/// A span's later tiles find the sums rescaled.
#[inline(always)]
fn rescale(state: &Softmax, first: usize) -> f32 {
    if first == 0 { state.rescale } else { 1.0 }
}

/// `V` vectors of columns of `add_values`, from `column`.
///
/// # Safety
/// As `add_values`, and the columns lie below `head_dim`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn add_columns<const R: usize, const V: usize>(
    weights: &[Scores],
    first: usize,
    states: &[Softmax],
    v: &[f32],
    head_dim: usize,
    column: usize,
    sums: &mut [f32],
) {
    // SAFETY: columns `column..column + V * LANES` of `R` rows, by the caller.
    unsafe {
        let sums = sums.as_mut_ptr().add(column);
        let weights = weights.as_ptr().cast::<f32>().add(first);
        let mut local: [[__m256; V]; R] = from_fn(|r| {
            let rescale = _mm256_set1_ps(rescale(&states[r], first));
            from_fn(|i| {
                let sum = _mm256_loadu_ps(sums.add(r * head_dim + i * LANES));
                _mm256_mul_ps(sum, rescale)
            })
        });
        for (j, v) in v.chunks_exact(head_dim).enumerate() {
            let values: [__m256; V] =
                from_fn(|i| _mm256_loadu_ps(v.as_ptr().add(column + i * LANES)));
            for r in 0..R {
                let weight = _mm256_broadcast_ss(&*weights.add(r * SPAN + j));
                for i in 0..V {
                    local[r][i] = _mm256_fmadd_ps(weight, values[i], local[r][i]);
                }
            }
        }
        for r in 0..R {
            for i in 0..V {
                _mm256_storeu_ps(sums.add(r * head_dim + i * LANES), local[r][i]);
            }
        }
    }
}
