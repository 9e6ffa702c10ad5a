//! The linear layer's kernel for x86-64 with AVX-512: 24 sums of 16 lanes, two panels a row.

// Tiles are small arrays that live in registers: only constant bounds and plain indices keep them there.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::array::from_fn;

use super::cursor::Cursor;
use super::panel::{CACHE_LINE, Element, PANEL, PanelElement, steps_together};
use super::tile::{MicroKernel, Sums, Tile};

/// The upper half of each 32-bit lane: the second bf16 of a pair, as an f32.
const UPPER_HALF: i32 = 0xFFFF_0000_u32 as i32;
const BF16_SHIFT: u32 = 16;

/// An e4m3 byte's sign, exponent and mantissa where an f16 has them, which then is 2^-8 of the number.
const E4M3_IN_F16: i16 = 0xBF80_u16 as i16;
const E4M3_SHIFT: i32 = 7;
const E4M3_FACTOR: f32 = 256.0;

/// Proof that this host has AVX-512 F (foundation) and BW (byte shuffles).
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    pub fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        present.then_some(Self(()))
    }
}

/// Calls `$function::<$type, rows, panels>`: 4 to 24 sums.
macro_rules! by_shape {
    ($function:ident::<$type:ty>, $rows:expr, $wide:expr, $arguments:tt) => {
        by_shape!($function, $type, $rows, $wide, $arguments,
            [1 4, 2 4, 3 4, 4 4, 5 2, 6 2, 7 2, 8 2, 9 2, 10 2, 11 2, 12 2])
    };
    ($function:ident, $type:ty, $rows:expr, $wide:expr, $arguments:tt,
        [$($height:tt $panels:tt),*]) => {
        match ($rows, $wide) {
            $(
                ($height, 1) => $function::<$type, $height, 1> $arguments,
                ($height, $panels) => $function::<$type, $height, $panels> $arguments,
            )*
            _ => unreachable!("a tile of {} rows by {} panels", $rows, $wide),
        }
    };
}

pub(super) use by_shape;

impl MicroKernel for Avx512 {
    const NAME: &'static str = "avx512";
    const ROWS: usize = 12;
    /// Two panels' weights (16 KiB of bf16) and a tile's activations (12 KiB).
    const K_BLOCK: usize = 256;
    const E4M3_FACTOR: f32 = E4M3_FACTOR;

    fn panels(rows: usize) -> usize {
        match rows {
            1..=4 => 4,
            _ => 2,
        }
    }

    fn tile<W: PanelElement>(self, tile: Tile<'_, W>, sums: Sums<'_>) {
        tile.check(&sums, false);
        // SAFETY: `self` proves the features; `check` held the extents the pointers run over, and
        // the shape called is the tile's own.
        unsafe { by_shape!(multiply::<W>, tile.rows, tile.panels, (tile, sums)) }
    }
}

/// One step of a panel, widened; of e4m3, over [`E4M3_FACTOR`]. Of a bf16 pair the `second` step or the first.
///
/// # Safety
/// `step` points to 16 elements, of bf16 to a pair of such steps.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn panel_step<W: PanelElement>(step: *const W, second: bool) -> __m512 {
    // SAFETY: a pair of steps of bf16 is 64 bytes; 16 elements are 32 of f16, 64 of f32, 16 of e4m3; `ELEMENT` is
    // sealed to the type.
    unsafe {
        match W::ELEMENT {
            Element::Bf16 => {
                let pairs = _mm512_loadu_si512(step.cast());
                _mm512_castsi512_ps(match second {
                    true => _mm512_and_si512(pairs, _mm512_set1_epi32(UPPER_HALF)),
                    false => _mm512_slli_epi32::<BF16_SHIFT>(pairs),
                })
            }
            Element::F16 => _mm512_cvtph_ps(_mm256_loadu_si256(step.cast())),
            Element::F32 => _mm512_loadu_ps(step.cast()),
            Element::E4m3 => {
                // The sign fills the upper byte.
                let words = _mm256_cvtepi8_epi16(_mm_loadu_si128(step.cast()));
                let shifted = _mm256_slli_epi16::<E4M3_SHIFT>(words);
                let halves = _mm256_and_si256(shifted, _mm256_set1_epi16(E4M3_IN_F16));
                _mm512_cvtph_ps(halves)
            }
        }
    }
}

/// Sums of `R` rows by `P` panels, in registers.
type Local<const R: usize, const P: usize> = [[__m512; P]; R];

/// # Safety
/// `tile.check()` holds, `tile` is `R` rows by `P` panels.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn multiply<W: PanelElement, const R: usize, const P: usize>(
    tile: Tile<'_, W>,
    sums: Sums<'_>,
) {
    let zeros = [[_mm512_setzero_ps(); P]; R];
    let mut cursor = Cursor::of(&tile);
    // SAFETY: `sums` is `R` rows of `P` panels; steps and rows stay within what `check` held.
    unsafe {
        if matches!(W::ELEMENT, Element::E4m3) {
            let mut fresh = sums.is_fresh();
            for (depth, scales) in tile.blocks() {
                let local = steps::<W, R, P>(&mut cursor, depth, zeros);
                for p in 0..P {
                    let scale = _mm512_loadu_ps(&raw const scales[p * PANEL]);
                    for r in 0..R {
                        let before = match fresh {
                            true => _mm512_setzero_ps(),
                            false => _mm512_loadu_ps(sums.at(r, p * PANEL)),
                        };
                        let sum = _mm512_fmadd_ps(local[r][p], scale, before);
                        _mm512_storeu_ps(sums.at(r, p * PANEL), sum);
                    }
                }
                fresh = false;
            }
            return;
        }
        let mut local = zeros;
        if !sums.is_fresh() {
            for r in 0..R {
                for p in 0..P {
                    local[r][p] = _mm512_loadu_ps(sums.at(r, p * PANEL));
                }
            }
        }
        let local = steps::<W, R, P>(&mut cursor, tile.depth, local);
        for r in 0..R {
            for p in 0..P {
                _mm512_storeu_ps(sums.at(r, p * PANEL), local[r][p]);
            }
        }
    }
}

/// Takes `depth` steps into `local`.
///
/// # Safety
/// That many steps are left, of `R` rows by `P` panels.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn steps<W: PanelElement, const R: usize, const P: usize>(
    cursor: &mut Cursor<W>,
    depth: usize,
    mut local: Local<R, P>,
) -> Local<R, P> {
    let line_steps = CACHE_LINE / (PANEL * size_of::<W>());
    let together = steps_together::<W>();
    let panel_stride = cursor.panel_stride;
    let (mut x, mut w, mut ahead) = (cursor.x, cursor.w, cursor.ahead);
    let mut step = 0;
    // SAFETY: steps and rows by the caller; a prefetch may name any address.
    unsafe {
        while step < depth {
            if step % line_steps == 0 {
                for p in 0..P {
                    let line = w.wrapping_add(p * panel_stride + ahead);
                    _mm_prefetch::<_MM_HINT_T0>(line.cast());
                }
            }
            let taken = together.min(depth - step);
            if taken > 1 {
                take_step::<W, R, P>(x.add(R), w, true, panel_stride, &mut local);
            }
            take_step::<W, R, P>(x, w, false, panel_stride, &mut local);
            (step, x, w) = (step + taken, x.add(taken * R), w.add(taken * PANEL));
            ahead = ahead
                .wrapping_add(taken * cursor.ahead_step)
                .wrapping_sub(taken * PANEL);
        }
    }
    (cursor.x, cursor.w, cursor.ahead) = (x, w, ahead);
    local
}

/// # Safety
/// `R` activations lie at `x`, and at `w` a step of each of `P` panels, of bf16 a pair of them.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn take_step<W: PanelElement, const R: usize, const P: usize>(
    x: *const f32,
    w: *const W,
    second: bool,
    panel_stride: usize,
    local: &mut Local<R, P>,
) {
    // SAFETY: by the caller.
    unsafe {
        let weights: [__m512; P] = from_fn(|p| panel_step(w.add(p * panel_stride), second));
        for r in 0..R {
            let x = _mm512_set1_ps(*x.add(r));
            for p in 0..P {
                local[r][p] = _mm512_fmadd_ps(x, weights[p], local[r][p]);
            }
        }
    }
}
