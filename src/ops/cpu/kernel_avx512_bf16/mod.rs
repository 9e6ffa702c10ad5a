//! Bf16 weights on x86-64 processors that multiply pairs of bf16 (AVX512_BF16: AMD since Zen 4, Intel since Cooper
//! Lake): 32 multiply-adds an instruction, the weights as they lie.
//!
//! An instruction adds the product of the second numbers of two pairs to an f32, then that of the first ones, each as a
//! fused multiply-add; numbers below the smallest normal one count as zeros, in and out.

// Tiles are small arrays that live in registers: only constant bounds and plain indices keep them there.
#![allow(clippy::needless_range_loop)]

mod attention;

use std::arch::x86_64::*;
use std::array::from_fn;
use std::mem::transmute;

use super::cursor::Cursor;
use super::kernel_avx512::{Avx512, by_shape};
use super::panel::{Element, PAIR, PANEL, PanelElement};
use super::tile::{MicroKernel, Sums, Tile};

/// Proof that this host has AVX512_BF16 and what [`Avx512`] needs.
#[derive(Debug, Clone, Copy)]
pub struct Avx512Bf16(Avx512);

impl Avx512Bf16 {
    pub fn detect() -> Option<Self> {
        let all = Avx512::detect()?;
        is_x86_feature_detected!("avx512bf16").then_some(Self(all))
    }
}

impl MicroKernel for Avx512Bf16 {
    const NAME: &'static str = "avx512_bf16";
    const ROWS: usize = Avx512::ROWS;
    /// Two panels' weights (160 KiB) and the activations of a block of rows (600 KiB) lie in L2 and arrive from there in
    /// time: blocks that fit L1 would bring each sum back from memory for every one of them.
    const K_BLOCK: usize = 2560;
    const PAIRS: bool = true;
    const E4M3_FACTOR: f32 = Avx512::E4M3_FACTOR;

    fn panels(rows: usize) -> usize {
        Avx512::panels(rows)
    }

    /// To L2, for as far ahead lines of L1 that wait for memory are too few. Four panels come fast enough by themselves.
    fn prefetch_steps(rows: usize) -> usize {
        match rows {
            1..=4 => 32,
            _ => 128,
        }
    }

    /// Of other weights [`Avx512`]'s.
    fn tile<W: PanelElement>(self, tile: Tile<'_, W>, sums: Sums<'_>) {
        if !matches!(W::ELEMENT, Element::Bf16) {
            return self.0.tile(tile, sums);
        }
        tile.check(&sums, true);
        // SAFETY: `self` proves the features; `check` held the extents the pointers run over, and the shape called is
        // the tile's own.
        unsafe { by_shape!(multiply::<W>, tile.rows, tile.panels, (tile, sums)) }
    }
}

/// # Safety
/// `tile.check()` holds, `tile` is `R` rows by `P` panels of bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn multiply<W: PanelElement, const R: usize, const P: usize>(
    tile: Tile<'_, W>,
    sums: Sums<'_>,
) {
    let Cursor {
        mut x,
        mut w,
        panel_stride,
        mut ahead,
        ahead_step,
    } = Cursor::of(&tile);
    let mut local = [[_mm512_setzero_ps(); P]; R];
    // SAFETY: `sums` is `R` rows of `P` panels; pairs and rows stay within what `check` held; 32 elements of bf16 are
    // 64 bytes, and a word of `x` 4, whatever they are called; a prefetch may name any address.
    unsafe {
        if !sums.is_fresh() {
            for r in 0..R {
                for p in 0..P {
                    local[r][p] = _mm512_loadu_ps(sums.at(r, p * PANEL));
                }
            }
        }
        for _ in 0..tile.depth.div_ceil(PAIR) {
            let weights: [__m512bh; P] = from_fn(|p| {
                let panel = w.add(p * panel_stride);
                _mm_prefetch::<_MM_HINT_T1>(panel.wrapping_add(ahead).cast());
                transmute(_mm512_loadu_si512(panel.cast()))
            });
            for r in 0..R {
                let x: __m512bh = transmute(_mm512_set1_ps(*x.add(r)));
                for p in 0..P {
                    local[r][p] = _mm512_dpbf16_ps(local[r][p], x, weights[p]);
                }
            }
            x = x.add(R);
            w = w.add(PAIR * PANEL);
            ahead = ahead
                .wrapping_add(PAIR * ahead_step)
                .wrapping_sub(PAIR * PANEL);
        }
        for r in 0..R {
            for p in 0..P {
                _mm512_storeu_ps(sums.at(r, p * PANEL), local[r][p]);
            }
        }
    }
}
