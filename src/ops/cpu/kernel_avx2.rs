//! Kernels for x86-64 with AVX2, FMA and F16C: sums in registers, weights widened as they arrive.

// Tiles are small arrays that live in registers: only constant bounds and plain indices keep them there.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::array::from_fn;

use super::attention::{AttentionKernel, LANES, Softmax, TILE_POSITIONS};
use super::kernel_portable::softmax;
use super::panel::{Element, PANEL, PanelElement};
use super::tile::{MicroKernel, Sums, Tile};

const CACHE_LINE: usize = 64;
/// The upper half of each 32-bit lane: the odd bf16 of a pair, as an f32.
const UPPER_HALF: i32 = 0xFFFF_0000_u32 as i32;
const BF16_SHIFT: i32 = 16;

/// Proof that this host has AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        present.then_some(Self(()))
    }
}

/// Calls `$function::<$type, rows, panels>` for the tile heights and widths that fill 8 to 12 sums.
macro_rules! by_shape {
    ($function:ident::<$type:ty>, $rows:expr, $wide:expr, $arguments:tt) => {
        match ($rows, $wide) {
            (1, 1) => $function::<$type, 1, 1> $arguments,
            (1, _) => $function::<$type, 1, 4> $arguments,
            (2, 1) => $function::<$type, 2, 1> $arguments,
            (2, _) => $function::<$type, 2, 2> $arguments,
            (3, _) => $function::<$type, 3, 1> $arguments,
            (4, _) => $function::<$type, 4, 1> $arguments,
            (5, _) => $function::<$type, 5, 1> $arguments,
            (_, _) => $function::<$type, 6, 1> $arguments,
        }
    };
}

impl MicroKernel for Avx2 {
    const ROWS: usize = 6;

    fn panels(rows: usize) -> usize {
        match rows {
            1 => 4,
            2 => 2,
            // Two panels of three rows would not leave registers for their operands.
            _ => 1,
        }
    }

    fn tile<W: PanelElement>(self, tile: Tile<'_, W>, sums: Sums<'_>) {
        tile.check(&sums);
        assert!(tile.rows <= Self::ROWS && [1, Self::panels(tile.rows)].contains(&tile.panels));
        // SAFETY: `self` proves the features; `check` held the extents the pointers run over, and
        // the shape called is the tile's own by the line above.
        unsafe { by_shape!(multiply::<W>, tile.rows, tile.panels, (tile, sums)) }
    }
}

/// One step of a panel, widened: columns 0..8 and 8..16.
///
/// # Safety
/// `step` points to 16 elements.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn panel_step<W: PanelElement>(step: *const W) -> [__m256; 2] {
    // SAFETY: 16 elements are 32 bytes of bf16 or f16, 64 of f32; `ELEMENT` is sealed to the type.
    unsafe {
        match W::ELEMENT {
            Element::Bf16 => {
                let pairs = _mm256_loadu_si256(step.cast());
                let upper = _mm256_and_si256(pairs, _mm256_set1_epi32(UPPER_HALF));
                let lower = _mm256_slli_epi32::<BF16_SHIFT>(pairs);
                [_mm256_castsi256_ps(lower), _mm256_castsi256_ps(upper)]
            }
            Element::F16 | Element::F32 => [widen(step), widen(step.add(LANES))],
        }
    }
}

/// 8 elements in order, widened.
///
/// # Safety
/// `values` points to 8 elements.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn widen<T: PanelElement>(values: *const T) -> __m256 {
    // SAFETY: 8 elements are 16 bytes of bf16 or f16, 32 of f32; `ELEMENT` is sealed to the type.
    unsafe {
        match T::ELEMENT {
            Element::Bf16 => {
                let lanes = _mm256_cvtepu16_epi32(_mm_loadu_si128(values.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<BF16_SHIFT>(lanes))
            }
            Element::F16 => _mm256_cvtph_ps(_mm_loadu_si128(values.cast())),
            Element::F32 => _mm256_loadu_ps(values.cast()),
        }
    }
}

/// # Safety
/// `tile.check()` holds, `tile` is `R` rows by `P` panels.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply<W: PanelElement, const R: usize, const P: usize>(
    tile: Tile<'_, W>,
    sums: Sums<'_>,
) {
    let line_steps = CACHE_LINE / (PANEL * size_of::<W>());
    let at = |r: usize, p: usize, half: usize| sums.at(r, p * PANEL + half * LANES);
    // SAFETY: `sums` is `R` rows of `P` panels; steps and rows stay within what `check` held;
    // a prefetch may name any address.
    unsafe {
        let mut local = [[[_mm256_setzero_ps(); 2]; P]; R];
        if !sums.is_fresh() {
            for r in 0..R {
                for p in 0..P {
                    for half in 0..2 {
                        local[r][p][half] = _mm256_loadu_ps(at(r, p, half));
                    }
                }
            }
        }
        let mut x = tile.x.as_ptr();
        let mut w = tile.w.as_ptr();
        // Relative to `w`, which moves a panel's width a step.
        let mut ahead = tile.ahead;
        for step in 0..tile.depth {
            for p in 0..P {
                let panel = w.add(p * tile.panel_stride);
                if step % line_steps == 0 {
                    _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(ahead).cast());
                }
                let weights = panel_step(panel);
                for r in 0..R {
                    let x = _mm256_broadcast_ss(&*x.add(r));
                    for half in 0..2 {
                        local[r][p][half] = _mm256_fmadd_ps(x, weights[half], local[r][p][half]);
                    }
                }
            }
            x = x.add(R);
            w = w.add(PANEL);
            ahead = ahead.wrapping_add(tile.ahead_step).wrapping_sub(PANEL);
        }
        for r in 0..R {
            for p in 0..P {
                for half in 0..2 {
                    _mm256_storeu_ps(at(r, p, half), local[r][p][half]);
                }
            }
        }
    }
}

/// Rows of q that share one reading of a key or value.
const QUERY_ROWS: usize = 6;

/// Rows at a time so that no group is left much smaller than the others.
fn even_rows(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(QUERY_ROWS).max(1)).max(1)
}

/// Calls `$function::<rows, $wide>` with `$wide` for a count of rows: 8 to 12 sums.
macro_rules! by_rows {
    ($function:ident, $rows:expr, [$w1:tt $w2:tt $w3:tt $more:tt], $arguments:tt) => {
        match $rows {
            1 => $function::<1, $w1> $arguments,
            2 => $function::<2, $w2> $arguments,
            3 => $function::<3, $w3> $arguments,
            4 => $function::<4, $more> $arguments,
            5 => $function::<5, $more> $arguments,
            _ => $function::<6, $more> $arguments,
        }
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

    fn scores(self, q: &[f32], k: &[f32], head_dim: usize, scores: &mut [[f32; TILE_POSITIONS]]) {
        assert!(k.len() >= TILE_POSITIONS * head_dim && q.len() >= scores.len() * head_dim);
        let rows = even_rows(scores.len());
        for (scores, q) in scores.chunks_mut(rows).zip(q.chunks(rows * head_dim)) {
            // SAFETY: `self` proves the features; the lines above hold the extents.
            unsafe { by_rows!(dots, scores.len(), [8 4 4 2], (q, k, head_dim, scores)) }
        }
    }

    fn softmax(self, scores: &mut [[f32; TILE_POSITIONS]], states: &mut [Softmax]) {
        // SAFETY: `self` proves the features.
        unsafe { softmax_rows(scores, states) }
    }

    fn weigh(
        self,
        weights: &[[f32; TILE_POSITIONS]],
        states: &[Softmax],
        v: &[f32],
        head_dim: usize,
        sums: &mut [f32],
    ) {
        assert!(v.len() <= TILE_POSITIONS * head_dim && states.len() == weights.len());
        assert!(sums.len() >= weights.len() * head_dim);
        let rows = even_rows(weights.len());
        let groups = weights.chunks(rows).zip(states.chunks(rows));
        for ((weights, states), sums) in groups.zip(sums.chunks_mut(rows * head_dim)) {
            // SAFETY: `self` proves the features; the lines above hold the extents.
            unsafe {
                by_rows!(add_values, weights.len(), [8 4 4 2], (weights, states, v, head_dim, sums))
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
        if let Some(&next) = next.get(j) {
            for line in (next..next + head_dim).step_by(CACHE_LINE / size_of::<KV>()) {
                _mm_prefetch::<_MM_HINT_T0>(cache.as_ptr().wrapping_add(line).cast());
            }
        }
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
fn softmax_rows(scores: &mut [[f32; TILE_POSITIONS]], states: &mut [Softmax]) {
    for (scores, state) in scores.iter_mut().zip(states) {
        softmax::<true>(scores, state);
    }
}

/// `scores[r][j] = q[r] · k[j]`: 8 lanes in step, then their tree, then the odd elements.
///
/// # Safety
/// `R` rows of `q` and of `scores`, 16 of `k`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dots<const R: usize, const P: usize>(
    q: &[f32],
    k: &[f32],
    head_dim: usize,
    scores: &mut [[f32; TILE_POSITIONS]],
) {
    let whole = head_dim - head_dim % LANES;
    for first in (0..TILE_POSITIONS).step_by(P) {
        // SAFETY: vectors end at `whole`, odd elements at `head_dim`, within the caller's extents.
        unsafe {
            let k = k.as_ptr().add(first * head_dim);
            let mut lanes = [[_mm256_setzero_ps(); P]; R];
            for i in (0..whole).step_by(LANES) {
                let keys: [__m256; P] = from_fn(|p| _mm256_loadu_ps(k.add(p * head_dim + i)));
                for r in 0..R {
                    let q = _mm256_loadu_ps(q.as_ptr().add(r * head_dim + i));
                    for p in 0..P {
                        lanes[r][p] = _mm256_fmadd_ps(q, keys[p], lanes[r][p]);
                    }
                }
            }
            for r in 0..R {
                for p in 0..P {
                    let mut sum = tree_sum(lanes[r][p]);
                    for i in whole..head_dim {
                        sum = q[r * head_dim + i].mul_add(*k.add(p * head_dim + i), sum);
                    }
                    scores[r][first + p] = sum;
                }
            }
        }
    }
}

/// The sum of 8 lanes: halves onto each other until one is left.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn tree_sum(lanes: __m256) -> f32 {
    let four = _mm_add_ps(
        _mm256_castps256_ps128(lanes),
        _mm256_extractf128_ps::<1>(lanes),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    let one = _mm_add_ss(two, _mm_movehdup_ps(two));
    _mm_cvtss_f32(one)
}

/// `sums[r] = sums[r] * rescale[r] + Σ_j weights[r][j] * v[j]`, in order of j.
///
/// # Safety
/// `R` rows of `weights`, `states` and `sums`, at most 16 of `v`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_values<const R: usize, const V: usize>(
    weights: &[[f32; TILE_POSITIONS]],
    states: &[Softmax],
    v: &[f32],
    head_dim: usize,
    sums: &mut [f32],
) {
    // SAFETY: each call covers columns below `head_dim`, within the caller's extents.
    unsafe {
        let mut column = 0;
        while column + V * LANES <= head_dim {
            add_columns::<R, V>(weights, states, v, head_dim, column, sums);
            column += V * LANES;
        }
        while column + LANES <= head_dim {
            add_columns::<R, 1>(weights, states, v, head_dim, column, sums);
            column += LANES;
        }
        for column in column..head_dim {
            for r in 0..R {
                let sum = &mut sums[r * head_dim + column];
                *sum *= states[r].rescale;
                for (weight, v) in weights[r].iter().zip(v.chunks_exact(head_dim)) {
                    *sum = weight.mul_add(v[column], *sum);
                }
            }
        }
    }
}

/// `V` vectors of columns of `add_values`, from `column`.
///
/// # Safety
/// As `add_values`, and the columns lie below `head_dim`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn add_columns<const R: usize, const V: usize>(
    weights: &[[f32; TILE_POSITIONS]],
    states: &[Softmax],
    v: &[f32],
    head_dim: usize,
    column: usize,
    sums: &mut [f32],
) {
    // SAFETY: columns `column..column + V * LANES` of `R` rows, by the caller.
    unsafe {
        let sums = sums.as_mut_ptr().add(column);
        let weights = weights.as_ptr().cast::<f32>();
        let mut local: [[__m256; V]; R] = from_fn(|r| {
            let rescale = _mm256_set1_ps(states[r].rescale);
            from_fn(|i| {
                let sum = _mm256_loadu_ps(sums.add(r * head_dim + i * LANES));
                _mm256_mul_ps(sum, rescale)
            })
        });
        for (j, v) in v.chunks_exact(head_dim).enumerate() {
            let values: [__m256; V] =
                from_fn(|i| _mm256_loadu_ps(v.as_ptr().add(column + i * LANES)));
            for r in 0..R {
                let weight = _mm256_broadcast_ss(&*weights.add(r * TILE_POSITIONS + j));
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
