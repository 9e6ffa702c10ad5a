//! Kernels for x86-64 with AVX2, FMA and F16C: sums in registers, weights widened as they arrive.

// Tiles are small arrays that live in registers: only constant bounds and plain indices keep them there.
#![allow(clippy::needless_range_loop)]

mod attention;

use std::arch::x86_64::*;

use super::attention::kernel::LANES;
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
        let near = tile.ahead_step == PANEL;
        let mut x = tile.x.as_ptr();
        let mut w = tile.w.as_ptr();
        // Relative to `w`, which moves a panel's width a step.
        let mut ahead = tile.ahead;
        for step in 0..tile.depth {
            for p in 0..P {
                let panel = w.add(p * tile.panel_stride);
                if step % line_steps == 0 {
                    prefetch(panel.wrapping_add(ahead), near);
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
