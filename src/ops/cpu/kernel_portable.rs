//! Kernels in plain Rust, for every host, and the arithmetic that all kernels share.
//!
//! Without a fused multiply-add in the compiled target a step is `a * b + c`, rounded twice: these
//! kernels then agree with the fused ones to f32 rounding, not bit for bit.

use super::attention_kernel::{
    AttentionKernel, CHAIN, Scores, Softmax, TILE_POSITIONS, higher, shift,
};
use super::panel::{PANEL, PanelElement, steps_together};
use super::tile::{MicroKernel, Sums, Tile};

/// Whether the compiled code has a fused multiply-add instruction.
const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

/// Plain Rust, vectorised as the compiler sees fit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Portable;

/// `a * b + c`, rounded once where `FUSED`.
#[inline(always)]
pub(super) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

impl MicroKernel for Portable {
    /// Two rows of 16 sums fit the registers of a host without wide vectors.
    const ROWS: usize = 2;

    fn panels(_rows: usize) -> usize {
        1
    }

    fn tile<W: PanelElement>(self, tile: Tile<'_, W>, sums: Sums<'_>) {
        tile.check(&sums, false);
        assert!(tile.rows <= Self::ROWS && tile.panels == 1);
        match tile.rows {
            1 => rows::<W, 1>(tile, sums),
            _ => rows::<W, 2>(tile, sums),
        }
    }
}

fn rows<W: PanelElement, const R: usize>(tile: Tile<'_, W>, mut sums: Sums<'_>) {
    if tile.scaling.is_none() {
        let mut local = [[0.0; PANEL]; R];
        if !sums.is_fresh() {
            for (r, local) in local.iter_mut().enumerate() {
                local.copy_from_slice(sums.row(r));
            }
        }
        steps(tile.w, tile.x, tile.depth, &mut local);
        for (r, local) in local.iter().enumerate() {
            sums.row(r).copy_from_slice(local);
        }
    }
    let (mut w, mut x, mut fresh) = (tile.w, tile.x, sums.is_fresh());
    for (depth, scales) in tile.blocks() {
        let mut local = [[0.0; PANEL]; R];
        steps(w, x, depth, &mut local);
        for (r, local) in local.iter().enumerate() {
            for ((sum, local), scale) in sums.row(r).iter_mut().zip(local).zip(scales) {
                let before = if fresh { 0.0 } else { *sum };
                *sum = multiply_add::<FUSED>(*local, *scale, before);
            }
        }
        (w, x, fresh) = (&w[depth * PANEL..], &x[depth * R..], false);
    }
}

/// Takes the first `depth` steps into `local`.
fn steps<W: PanelElement, const R: usize>(
    w: &[W],
    x: &[f32],
    depth: usize,
    local: &mut [[f32; PANEL]; R],
) {
    let together = steps_together::<W>();
    let (x, _) = x[..depth * R].as_chunks::<R>();
    for (weights, x) in w.chunks_exact(PANEL * together).zip(x.chunks(together)) {
        // The later one of a pair first.
        for (step, x) in x.iter().enumerate().rev() {
            for column in 0..PANEL {
                let weight = weights[column * together + step].to_f32();
                for r in 0..R {
                    local[r][column] = multiply_add::<FUSED>(x[r], weight, local[r][column]);
                }
            }
        }
    }
}

impl AttentionKernel for Portable {
    fn gather<KV: PanelElement>(
        self,
        cache: &[KV],
        starts: &[usize],
        _next: &[usize],
        head_dim: usize,
        tile: &mut [f32],
    ) {
        for (row, &start) in tile.chunks_exact_mut(head_dim).zip(starts) {
            for (wide, value) in row.iter_mut().zip(&cache[start..start + head_dim]) {
                *wide = value.to_f32();
            }
        }
    }

    fn gather_keys<KV: PanelElement>(
        self,
        cache: &[KV],
        starts: &[usize],
        _next: &[usize],
        head_dim: usize,
        tile: &mut [f32],
    ) {
        for (i, column) in tile.chunks_exact_mut(TILE_POSITIONS).enumerate() {
            for (wide, &start) in column.iter_mut().zip(starts) {
                *wide = cache[start..start + head_dim][i].to_f32();
            }
        }
    }

    fn scores(self, q: &[f32], k: &[f32], head_dim: usize, first: usize, scores: &mut [Scores]) {
        let (k, _) = k.as_chunks::<TILE_POSITIONS>();
        for (q, scores) in q.chunks_exact(head_dim).zip(scores) {
            let scores = &mut scores[first..first + TILE_POSITIONS];
            scores.fill(0.0);
            for (q, k) in q.chunks(CHAIN).zip(k.chunks(CHAIN)) {
                let mut sums = [0.0; TILE_POSITIONS];
                for (&q, k) in q.iter().zip(k) {
                    for j in 0..TILE_POSITIONS {
                        sums[j] = multiply_add::<FUSED>(q, k[j], sums[j]);
                    }
                }
                for (score, sum) in scores.iter_mut().zip(sums) {
                    *score += sum;
                }
            }
        }
    }

    fn softmax(self, scores: &mut [Scores], filled: usize, states: &mut [Softmax]) {
        for (scores, state) in scores.iter_mut().zip(states) {
            softmax::<FUSED>(&mut scores[..filled], state);
        }
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
        for ((sums, weights), state) in sums.chunks_exact_mut(head_dim).zip(weights).zip(states) {
            if first == 0 {
                sums.iter_mut().for_each(|sum| *sum *= state.rescale);
            }
            for (&weight, v) in weights[first..].iter().zip(v.chunks_exact(head_dim)) {
                for (sum, &value) in sums.iter_mut().zip(v) {
                    *sum = multiply_add::<FUSED>(weight, value, *sum);
                }
            }
        }
    }
}

/// The sum of all lanes in one fixed order: halves onto each other until one is left.
#[inline(always)]
fn tree_sum<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut width = N;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

/// Turns a span's scores into weights and takes them into the running maximum and sum.
///
/// Lane i takes every 16th score, in order, and the lanes meet in one tree: scores of -inf at the end
/// change nothing, so the result does not depend on how many there are.
#[inline(always)]
pub(super) fn softmax<const FUSED: bool>(scores: &mut [f32], state: &mut Softmax) {
    let (scores, _) = scores.as_chunks_mut::<TILE_POSITIONS>();
    let mut highest = [f32::NEG_INFINITY; TILE_POSITIONS];
    for scores in &*scores {
        for i in 0..TILE_POSITIONS {
            highest[i] = higher(highest[i], scores[i]);
        }
    }
    let mut width = TILE_POSITIONS;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            highest[i] = higher(highest[i], highest[i + width]);
        }
    }
    let max = higher(state.max, highest[0]);
    let shift = shift(max);
    let mut sums = [0.0; TILE_POSITIONS];
    for scores in scores {
        for i in 0..TILE_POSITIONS {
            scores[i] = exp::<FUSED>(scores[i] - shift);
            sums[i] += scores[i];
        }
    }
    state.rescale = exp::<FUSED>(state.max - shift);
    state.sum = multiply_add::<FUSED>(state.sum, state.rescale, tree_sum(sums));
    state.max = max;
}

/// `exp(x)` for x <= 0, the same on every host that is compiled alike.
pub(super) fn weight(x: f32) -> f32 {
    exp::<FUSED>(x)
}

/// Below this, e^x is under the smallest normal f32 and is taken as 0.
const EXP_LOWEST: f32 = -87.336_54;
/// Adding and taking away 1.5 * 2^23 rounds a small f32 to the nearest integer.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first with trailing zeros so that its small multiples are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
const MANTISSA_BITS: u32 = f32::MANTISSA_DIGITS - 1;
const EXPONENT_BIAS: i32 = f32::MAX_EXP - 1;
/// Taylor coefficients 1/7! to 1/2!: on |r| <= ln 2 / 2 the first one left out is below 2^-27.
const EXP_TERMS: [f32; 6] = [
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
];

/// e^x for x <= 0 to about 2 units in the last place; 0 below the normal range; NaN stays NaN.
///
/// Straight-line code, so that a loop over it becomes vector instructions.
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    let rounded = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let power = rounded - ROUND;
    let r = multiply_add::<FUSED>(power, -LN_2_HIGH, x);
    let r = multiply_add::<FUSED>(power, -LN_2_LOW, r);
    let mut series = EXP_TERMS[0];
    for term in &EXP_TERMS[1..] {
        series = multiply_add::<FUSED>(series, r, *term);
    }
    let value = multiply_add::<FUSED>(series * r, r, r) + 1.0;
    // The low bits of `rounded` are the power as an integer.
    let exponent = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let scale = f32::from_bits((exponent.wrapping_add(EXPONENT_BIAS) as u32) << MANTISSA_BITS);
    if x < EXP_LOWEST { 0.0 } else { value * scale }
}
