//! Kernels for x86-64 with AVX2, FMA and F16C: sums in registers, weights widened as they arrive.

// Tiles are small arrays that live in registers: only constant bounds and plain indices keep them there.
#![allow(clippy::needless_range_loop)]

pub(super) mod attention;

use std::arch::x86_64::*;
use std::sync::atomic::{Ordering, compiler_fence};

use super::attention_kernel::LANES;
use super::cursor::Cursor;
use super::panel::{CACHE_LINE, Element, PANEL, PanelElement, steps_together};
use super::tile::{MicroKernel, Sums, Tile};

/// The upper half of each 32-bit lane: the odd bf16 of a pair, as an f32.
const UPPER_HALF: i32 = 0xFFFF_0000_u32 as i32;
const BF16_SHIFT: i32 = 16;
/// An e4m3 byte's sign, exponent and mantissa where an f16 has them, which then is 2^-8 of the number.
const E4M3_IN_F16: i16 = 0xBF80_u16 as i16;
const E4M3_F16_SHIFT: i32 = 7;
const E4M3_F16_FACTOR: f32 = 256.0;
/// As above, of a bf16, which then is 2^-120 of the number: the subnormal ones are subnormal there too, and
/// half the instructions widen it. The other factor of 2^60 is the activations', for a product of
/// both would else be subnormal.
const E4M3_IN_BF16: i16 = 0x87F0_u16 as i16;
const E4M3_BF16_SHIFT: i32 = 4;
const TWO_TO_60: f32 = (1_u64 << 60) as f32;
/// Puts the bytes of columns `i` and `i + 8` into pair `i`, each above a zero byte. A shuffle stays within
/// 16 bytes (4 pairs); all columns are in each half.
const E4M3_SPREAD: [u8; 2 * PANEL] = e4m3_spread();
/// A shuffle's index for a zero byte.
const ZERO_BYTE: u8 = 0x80;

const fn e4m3_spread() -> [u8; 2 * PANEL] {
    let mut bytes = [ZERO_BYTE; 2 * PANEL];
    let mut column = 0;
    while column < LANES {
        bytes[4 * column + 1] = column as u8;
        bytes[4 * column + 3] = (column + LANES) as u8;
        column += 1;
    }
    bytes
}

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
    const NAME: &'static str = "avx2";
    const ROWS: usize = 6;
    const E4M3_ACTIVATIONS: f32 = TWO_TO_60;
    const E4M3_FACTOR: f32 = TWO_TO_60;

    fn panels(rows: usize) -> usize {
        match rows {
            1 => 4,
            2 => 2,
            // Two panels of three rows would not leave registers for their operands.
            _ => 1,
        }
    }

    fn tile<W: PanelElement>(self, tile: Tile<'_, W>, sums: Sums<'_>) {
        tile.check(&sums, false);
        assert!(tile.rows <= Self::ROWS && [1, Self::panels(tile.rows)].contains(&tile.panels));
        // SAFETY: `self` proves the features; `check` held the extents the pointers run over, and
        // the shape called is the tile's own by the line above.
        unsafe { by_shape!(multiply::<W>, tile.rows, tile.panels, (tile, sums)) }
    }
}

/// One step of a panel, widened: columns 0..8 and 8..16; of e4m3, 2^-120 of it. Of a bf16 pair the `second` step or the
/// first.
///
/// # Safety
/// `step` points to 16 elements, of bf16 to a pair of such steps.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn panel_step<W: PanelElement>(step: *const W, second: bool) -> [__m256; 2] {
    let upper = |pairs| {
        let upper = _mm256_and_si256(pairs, _mm256_set1_epi32(UPPER_HALF));
        _mm256_castsi256_ps(upper)
    };
    let lower = |pairs| _mm256_castsi256_ps(_mm256_slli_epi32::<BF16_SHIFT>(pairs));
    // SAFETY: a pair of steps of bf16 is 64 bytes; 16 elements are 32 of f16, 64 of f32, 16 of e4m3; `ELEMENT` is
    // sealed to the type.
    unsafe {
        match W::ELEMENT {
            Element::Bf16 => [step, step.add(PANEL)].map(|half| {
                let pairs = _mm256_loadu_si256(half.cast());
                if second { upper(pairs) } else { lower(pairs) }
            }),
            Element::E4m3 => {
                let pairs = e4m3_pairs(step.cast());
                [lower(pairs), upper(pairs)]
            }
            Element::F16 | Element::F32 => [widen(step), widen(step.add(LANES))],
        }
    }
}

/// 16 e4m3 numbers as a panel's step of bf16, each 2^-120 of itself.
///
/// # Safety
/// `step` points to 16 bytes.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn e4m3_pairs(step: *const u8) -> __m256i {
    // SAFETY: 16 bytes by the caller; 32 of the table.
    unsafe {
        let spread = _mm256_loadu_si256(E4M3_SPREAD.as_ptr().cast());
        let twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(step.cast()));
        let words = _mm256_shuffle_epi8(twice, spread);
        // The sign stays where it was; the mask drops the copies that the shift leaves behind it.
        let shifted = _mm256_srai_epi16::<E4M3_BF16_SHIFT>(words);
        _mm256_and_si256(shifted, _mm256_set1_epi16(E4M3_IN_BF16))
    }
}

/// Asks for a line of weights: what is used soon to the nearest cache, what waits to the next one, where
/// it drives out nothing that is in use (1 to 2 % at 32 rows).
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn prefetch<W>(line: *const W, near: bool) {
    match near {
        true => _mm_prefetch::<_MM_HINT_T0>(line.cast()),
        false => _mm_prefetch::<_MM_HINT_T1>(line.cast()),
    }
}

/// 8 elements in order, widened.
///
/// # Safety
/// `values` points to 8 elements.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn widen<T: PanelElement>(values: *const T) -> __m256 {
    // SAFETY: 8 elements are 16 bytes of bf16 or f16, 32 of f32, 8 of e4m3; `ELEMENT` is sealed to the type.
    unsafe {
        match T::ELEMENT {
            Element::Bf16 => {
                let lanes = _mm256_cvtepu16_epi32(_mm_loadu_si128(values.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<BF16_SHIFT>(lanes))
            }
            Element::F16 => _mm256_cvtph_ps(_mm_loadu_si128(values.cast())),
            Element::F32 => _mm256_loadu_ps(values.cast()),
            Element::E4m3 => {
                let words = _mm_cvtepi8_epi16(_mm_loadl_epi64(values.cast()));
                let halves = _mm_slli_epi16::<E4M3_F16_SHIFT>(words);
                let halves = _mm_and_si128(halves, _mm_set1_epi16(E4M3_IN_F16));
                _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(E4M3_F16_FACTOR))
            }
        }
    }
}

/// Sums of `R` rows by `P` panels, in registers.
type Local<const R: usize, const P: usize> = [[[__m256; 2]; P]; R];

/// # Safety
/// `tile.check()` holds, `tile` is `R` rows by `P` panels.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply<W: PanelElement, const R: usize, const P: usize>(
    tile: Tile<'_, W>,
    sums: Sums<'_>,
) {
    let at = |r: usize, p: usize, half: usize| sums.at(r, p * PANEL + half * LANES);
    let zeros = [[[_mm256_setzero_ps(); 2]; P]; R];
    let mut cursor = Cursor::of(&tile);
    // SAFETY: `sums` is `R` rows of `P` panels; steps and rows stay within what `check` held.
    unsafe {
        if matches!(W::ELEMENT, Element::E4m3) {
            let mut fresh = sums.is_fresh();
            for (depth, scales) in tile.blocks() {
                let local = steps::<W, R, P>(&mut cursor, depth, zeros);
                for p in 0..P {
                    for half in 0..2 {
                        let scale = _mm256_loadu_ps(&raw const scales[p * PANEL + half * LANES]);
                        for r in 0..R {
                            let before = match fresh {
                                true => _mm256_setzero_ps(),
                                false => _mm256_loadu_ps(at(r, p, half)),
                            };
                            let sum = _mm256_fmadd_ps(local[r][p][half], scale, before);
                            _mm256_storeu_ps(at(r, p, half), sum);
                        }
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
                    for half in 0..2 {
                        local[r][p][half] = _mm256_loadu_ps(at(r, p, half));
                    }
                }
            }
        }
        let local = steps::<W, R, P>(&mut cursor, tile.depth, local);
        for r in 0..R {
            for p in 0..P {
                for half in 0..2 {
                    _mm256_storeu_ps(at(r, p, half), local[r][p][half]);
                }
            }
        }
    }
}

/// Takes `depth` steps into `local`.
///
/// # Safety
/// That many steps are left, of `R` rows by `P` panels.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn steps<W: PanelElement, const R: usize, const P: usize>(
    cursor: &mut Cursor<W>,
    depth: usize,
    mut local: Local<R, P>,
) -> Local<R, P> {
    let line_steps = CACHE_LINE / (PANEL * size_of::<W>());
    let near = cursor.ahead_step == PANEL;
    let (mut x, mut w, mut ahead) = (cursor.x, cursor.w, cursor.ahead);
    // A line of weights a turn: a turn of one step of e4m3 is too short to hide what it waits for.
    let together = steps_together::<W>();
    let turn = if R > 2 { line_steps } else { together };
    let mut step = 0;
    // SAFETY: steps and rows by the caller; a prefetch may name any address.
    unsafe {
        while step < depth {
            if step % line_steps == 0 {
                for p in 0..P {
                    prefetch(w.wrapping_add(p * cursor.panel_stride + ahead), near);
                }
            }
            if turn > 1 && step + turn <= depth {
                for i in (0..turn).step_by(together) {
                    let (x, w) = (x.add(i * R), w.add(i * PANEL));
                    if together > 1 {
                        take_step::<W, R, P>(x.add(R), w, true, cursor.panel_stride, &mut local);
                        // The pair is loaded once more: kept, its registers are those of sums.
                        compiler_fence(Ordering::SeqCst);
                    }
                    take_step::<W, R, P>(x, w, false, cursor.panel_stride, &mut local);
                }
                (step, x, w) = (step + turn, x.add(turn * R), w.add(turn * PANEL));
                ahead = ahead
                    .wrapping_add(turn * cursor.ahead_step)
                    .wrapping_sub(turn * PANEL);
            } else {
                take_step::<W, R, P>(x, w, false, cursor.panel_stride, &mut local);
                (step, x, w) = (step + 1, x.add(R), w.add(PANEL));
                ahead = ahead.wrapping_add(cursor.ahead_step).wrapping_sub(PANEL);
            }
        }
    }
    (cursor.x, cursor.w, cursor.ahead) = (x, w, ahead);
    local
}

/// # Safety
/// `R` activations lie at `x`, and at `w` a step of each of `P` panels, of bf16 a pair of them.
#[target_feature(enable = "avx2,fma,f16c")]
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
        for p in 0..P {
            let weights = panel_step(w.add(p * panel_stride), second);
            for r in 0..R {
                let x = _mm256_broadcast_ss(&*x.add(r));
                for half in 0..2 {
                    local[r][p][half] = _mm256_fmadd_ps(x, weights[half], local[r][p][half]);
                }
            }
        }
    }
}
