//! Attention over a cache of bf16 on processors that multiply pairs of bf16: keys and values stay as they are cached, a
//! vector of a tile of keys holds two neighbouring elements of 16 positions, one of values an element of two positions.
//!
//! Queries and the weights of positions are rounded to bf16; scores, the softmax and all sums are of f32.

// Sums are small arrays that live in registers: only constant bounds and plain indices keep them there.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::array::from_fn;
use std::mem::transmute;

use half::bf16;

use super::super::attention_kernel::{
    AttentionKernel, CHAIN, LANES, SPAN, Scores, Softmax, TILE_POSITIONS, even_rows, for_rows,
};
use super::super::kernel_avx2::attention::{ask, turn};
use super::super::kernel_portable::softmax;
use super::super::panel::{Element, PAIR, PanelElement};
use super::Avx512Bf16;

/// Lanes of a vector: columns of sums of values, or positions of scores.
const WIDE: usize = 16;
/// Elements of bf16 in a vector.
const ELEMENTS: usize = PAIR * WIDE;
/// Words of a row's weights over a tile.
const WEIGHT_WORDS: usize = TILE_POSITIONS / PAIR;
/// Rows of q that share one reading of a key or value.
const QUERY_ROWS: usize = 12;
/// Rows that leave registers for four vectors of columns.
const WIDE_ROWS: usize = 6;

/// Elements `0..16`, and `16..32`, of two rows side by side.
const LOWER: [u16; ELEMENTS] = side_by_side(0);
const UPPER: [u16; ELEMENTS] = side_by_side(WIDE);

const fn side_by_side(first: usize) -> [u16; ELEMENTS] {
    let mut indices = [0; ELEMENTS];
    let mut i = 0;
    while i < WIDE {
        indices[PAIR * i] = (first + i) as u16;
        indices[PAIR * i + 1] = (ELEMENTS + first + i) as u16;
        i += 1;
    }
    indices
}

/// Calls `$call` with the constant `$count` for a count of rows.
macro_rules! by_rows {
    ($rows:expr, $count:ident => $call:expr) => {
        for_rows!($rows, $count => $call, [1 2 3 4 5 6 7 8 9 10 11] 12)
    };
}

impl Avx512Bf16 {
    /// Whether it takes a cache of this type and such heads.
    pub fn attends<KV: PanelElement>(head_dim: usize) -> bool {
        matches!(KV::ELEMENT, Element::Bf16) && head_dim.is_multiple_of(ELEMENTS)
    }
}

/// The cache as what it is.
///
/// # Panics
/// If it is not of bf16.
fn of_bf16<KV: PanelElement>(cache: &[KV]) -> &[bf16] {
    assert!(matches!(KV::ELEMENT, Element::Bf16), "a cache of bf16");
    // SAFETY: `ELEMENT` is sealed to the type.
    unsafe { std::slice::from_raw_parts(cache.as_ptr().cast(), cache.len()) }
}

impl AttentionKernel for Avx512Bf16 {
    const PAIRS: bool = true;

    fn gather<KV: PanelElement>(
        self,
        cache: &[KV],
        starts: &[usize],
        next: &[usize],
        head_dim: usize,
        tile: &mut [f32],
    ) {
        assert!(head_dim.is_multiple_of(ELEMENTS));
        assert!(tile.len() >= starts.len().div_ceil(PAIR) * head_dim);
        // SAFETY: `self` proves the features; the lines above hold the extents.
        unsafe { pair_rows(of_bf16(cache), starts, next, head_dim, tile) }
    }

    fn gather_keys<KV: PanelElement>(
        self,
        cache: &[KV],
        starts: &[usize],
        next: &[usize],
        head_dim: usize,
        tile: &mut [f32],
    ) {
        assert!(head_dim.is_multiple_of(ELEMENTS));
        assert!(!starts.is_empty() && starts.len() <= TILE_POSITIONS);
        assert!(tile.len() >= TILE_POSITIONS * head_dim / PAIR);
        // SAFETY: `self` proves the features; the lines above hold the extents.
        unsafe { turn_rows(of_bf16(cache), starts, next, head_dim, tile) }
    }

    fn scores(self, q: &[f32], k: &[f32], head_dim: usize, first: usize, scores: &mut [Scores]) {
        let words = head_dim / PAIR;
        assert!(k.len() >= TILE_POSITIONS * words && q.len() >= scores.len() * words);
        assert!(first + TILE_POSITIONS <= SPAN);
        let rows = even_rows(scores.len(), QUERY_ROWS);
        for (scores, q) in scores.chunks_mut(rows).zip(q.chunks(rows * words)) {
            // SAFETY: `self` proves the features; the lines above hold the extents.
            unsafe { by_rows!(scores.len(), R => dots::<R>(q, k, words, first, scores)) }
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
        assert!(first + TILE_POSITIONS <= SPAN && head_dim.is_multiple_of(ELEMENTS));
        assert!(v.len() <= WEIGHT_WORDS * head_dim && states.len() == weights.len());
        assert!(sums.len() >= weights.len() * head_dim);
        let rows = even_rows(weights.len(), QUERY_ROWS);
        let groups = weights.chunks(rows).zip(states.chunks(rows));
        for ((weights, states), sums) in groups.zip(sums.chunks_mut(rows * head_dim)) {
            // SAFETY: `self` proves the features; the lines above hold the extents.
            unsafe {
                by_rows!(weights.len(), R => {
                    add_values::<R>(weights, first, states, v, head_dim, sums)
                })
            }
        }
    }
}

/// Two positions' values side by side; beside the last of an odd number lie zeros.
///
/// # Safety
/// `tile` holds a row of `head_dim`, whole vectors, for each two starts.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pair_rows(
    cache: &[bf16],
    starts: &[usize],
    next: &[usize],
    head_dim: usize,
    tile: &mut [f32],
) {
    // SAFETY: 64 bytes each.
    let (lower, upper) = unsafe {
        let table = |indices: &[u16; ELEMENTS]| _mm512_loadu_si512(indices.as_ptr().cast());
        (table(&LOWER), table(&UPPER))
    };
    for (j, pair) in starts.chunks(PAIR).enumerate() {
        ask(cache, next.get(PAIR * j), head_dim);
        ask(cache, next.get(PAIR * j + 1), head_dim);
        let first = &cache[pair[0]..pair[0] + head_dim];
        let is_last = pair.len() < PAIR;
        let second = pair[pair.len() - 1];
        let second = &cache[second..second + head_dim];
        for i in (0..head_dim).step_by(ELEMENTS) {
            // SAFETY: 32 elements from `i` of each row, as many words of the tile.
            unsafe {
                let a = _mm512_loadu_si512(first.as_ptr().add(i).cast());
                let b = match is_last {
                    false => _mm512_loadu_si512(second.as_ptr().add(i).cast()),
                    true => _mm512_setzero_si512(),
                };
                let at = tile.as_mut_ptr().add(j * head_dim + i);
                _mm512_storeu_si512(at.cast(), _mm512_permutex2var_epi16(a, lower, b));
                let words = _mm512_permutex2var_epi16(a, upper, b);
                _mm512_storeu_si512(at.add(WIDE).cast(), words);
            }
        }
    }
}

/// Keys turned, a word of two elements at a time. Columns past the starts hold the first of them.
///
/// # Safety
/// `tile` holds 16 columns of `head_dim / 2`, whole vectors; there are one to 16 `starts`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2")]
unsafe fn turn_rows(
    cache: &[bf16],
    starts: &[usize],
    next: &[usize],
    head_dim: usize,
    tile: &mut [f32],
) {
    let mut rows = [cache.as_ptr(); TILE_POSITIONS];
    for (j, row) in rows.iter_mut().enumerate() {
        ask(cache, next.get(j), head_dim);
        let start = *starts.get(j).unwrap_or(&starts[0]);
        *row = cache[start..start + head_dim].as_ptr();
    }
    for first in (0..TILE_POSITIONS).step_by(LANES) {
        for i in (0..head_dim / PAIR).step_by(LANES) {
            // SAFETY: 8 words from `i` of each row, 8 columns of 8 rows of the tile.
            unsafe {
                let mut words = [_mm256_setzero_ps(); LANES];
                for j in 0..LANES {
                    words[j] = _mm256_loadu_ps(rows[first + j].add(PAIR * i).cast());
                }
                for (c, column) in turn(words).into_iter().enumerate() {
                    let at = tile.as_mut_ptr().add((i + c) * TILE_POSITIONS + first);
                    _mm256_storeu_ps(at, column);
                }
            }
        }
    }
}

/// `scores[r][column + j] = q[r] · k[j]`, 16 positions side by side.
///
/// # Safety
/// `R` rows of `words` of `q`, `R` of `scores`, 16 columns of `k`; `column + 16 <= SPAN`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn dots<const R: usize>(
    q: &[f32],
    k: &[f32],
    words: usize,
    column: usize,
    scores: &mut [Scores],
) {
    // SAFETY: words end at `words`, positions at 16, within the caller's extents.
    unsafe {
        for start in (0..words).step_by(CHAIN / PAIR) {
            let mut sums = [_mm512_setzero_ps(); R];
            for i in start..words.min(start + CHAIN / PAIR) {
                let keys: __m512bh = transmute(_mm512_loadu_ps(k.as_ptr().add(i * TILE_POSITIONS)));
                for r in 0..R {
                    let q: __m512bh = transmute(_mm512_set1_ps(*q.as_ptr().add(r * words + i)));
                    sums[r] = _mm512_dpbf16_ps(sums[r], q, keys);
                }
            }
            for r in 0..R {
                let at = scores[r].as_mut_ptr().add(column);
                let before = match start {
                    0 => _mm512_setzero_ps(),
                    _ => _mm512_loadu_ps(at),
                };
                _mm512_storeu_ps(at, _mm512_add_ps(before, sums[r]));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn softmax_rows(scores: &mut [Scores], filled: usize, states: &mut [Softmax]) {
    for (scores, state) in scores.iter_mut().zip(states) {
        softmax::<true>(&mut scores[..filled], state);
    }
}

/// `sums[r] = sums[r] * rescale[r] + Σ_j weights[r][first + j] * v[j]`, pair after pair; `rescale` only where `first`
/// is 0.
///
/// # Safety
/// `R` rows of `weights`, `states` and `sums`, at most 8 of `v`, of whole vectors; `first + 16 <= SPAN`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn add_values<const R: usize>(
    weights: &[Scores],
    first: usize,
    states: &[Softmax],
    v: &[f32],
    head_dim: usize,
    sums: &mut [f32],
) {
    let mut words = [[0.0; WEIGHT_WORDS]; R];
    // SAFETY: each call covers columns below `head_dim`, within the caller's extents; 16 weights become 32 bytes.
    unsafe {
        for r in 0..R {
            let wide = _mm512_loadu_ps(weights[r].as_ptr().add(first));
            let rounded: __m256 = transmute(_mm512_cvtneps_pbh(wide));
            _mm256_storeu_ps(words[r].as_mut_ptr(), rounded);
        }
        let rescales = from_fn(|r| if first == 0 { states[r].rescale } else { 1.0 });
        let mut column = 0;
        while column < head_dim {
            if R <= WIDE_ROWS && column + 4 * WIDE <= head_dim {
                add_columns::<R, 4>(&words, &rescales, v, head_dim, column, sums);
                column += 4 * WIDE;
            } else {
                add_columns::<R, 2>(&words, &rescales, v, head_dim, column, sums);
                column += 2 * WIDE;
            }
        }
    }
}

/// `V` vectors of columns of `add_values`, from `column`.
///
/// # Safety
/// As `add_values`, and the columns lie below `head_dim`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn add_columns<const R: usize, const V: usize>(
    weights: &[[f32; WEIGHT_WORDS]; R],
    rescales: &[f32; R],
    v: &[f32],
    head_dim: usize,
    column: usize,
    sums: &mut [f32],
) {
    // SAFETY: columns `column..column + V * 16` of `R` rows, by the caller.
    unsafe {
        let sums = sums.as_mut_ptr().add(column);
        let mut local: [[__m512; V]; R] = from_fn(|r| {
            let rescale = _mm512_set1_ps(rescales[r]);
            from_fn(|i| {
                let sum = _mm512_loadu_ps(sums.add(r * head_dim + i * WIDE));
                _mm512_mul_ps(sum, rescale)
            })
        });
        for (j, v) in v.chunks_exact(head_dim).enumerate() {
            let values: [__m512bh; V] =
                from_fn(|i| transmute(_mm512_loadu_ps(v.as_ptr().add(column + i * WIDE))));
            for r in 0..R {
                let weight: __m512bh = transmute(_mm512_set1_ps(*weights[r].as_ptr().add(j)));
                for i in 0..V {
                    local[r][i] = _mm512_dpbf16_ps(local[r][i], weight, values[i]);
                }
            }
        }
        for r in 0..R {
            for i in 0..V {
                _mm512_storeu_ps(sums.add(r * head_dim + i * WIDE), local[r][i]);
            }
        }
    }
}
