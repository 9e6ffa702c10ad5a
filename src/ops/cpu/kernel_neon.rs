//! The linear layer's kernel for aarch64, whose NEON every host has: up to 24 sums of 4 lanes.
//!
//! It asks memory for nothing ahead of use: a prefetch has no stable name there.

// Tiles are small arrays that live in registers: only constant bounds and plain indices keep them there.
#![allow(clippy::needless_range_loop)]

use std::arch::aarch64::*;

use half::bf16;

use super::panel::{Element, PAIR, PANEL, PanelElement, steps_together};
use super::tile::{MicroKernel, Sums, Tile};

const LANES: usize = 4;
/// Registers of the activations of a pair of the most rows.
const QUADS: usize = PAIR * Neon::ROWS / LANES;
/// Registers of a panel's step.
const QUARTERS: usize = PANEL / LANES;
/// The upper half of each 32-bit lane: the odd bf16 of a pair, as an f32.
const UPPER_HALF: u32 = 0xFFFF_0000;
const BF16_SHIFT: i32 = 16;
/// An e4m3 byte's sign, exponent and mantissa where an f16 has them, which then is 2^-8 of the number.
const E4M3_IN_F16: u16 = 0xBF80;
const E4M3_SHIFT: i32 = 7;

/// NEON is part of every aarch64 target.
#[derive(Debug, Clone, Copy, Default)]
pub struct Neon;

/// Calls `$function::<$type, rows, panels>`: 12 to 24 sums, for hosts that start 4 a cycle.
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

impl MicroKernel for Neon {
    const NAME: &'static str = "neon";
    const ROWS: usize = 6;
    const E4M3_FACTOR: f32 = 256.0;

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
        // SAFETY: `check` held the extents the pointers run over, and the shape called is the
        // tile's own by the line above.
        unsafe { by_shape!(multiply::<W>, tile.rows, tile.panels, (tile, sums)) }
    }
}

/// One step of a panel, widened: columns in order, 4 a register. Of a bf16 pair the first.
///
/// # Safety
/// `step` points to 16 elements, of bf16 to a pair of such steps.
#[inline(always)]
unsafe fn panel_step<W: PanelElement>(step: *const W) -> [float32x4_t; QUARTERS] {
    // SAFETY: a pair of steps of bf16 is 64 bytes; 16 elements are 32 of f16, 64 of f32, 16 of e4m3; `ELEMENT` is
    // sealed to the type.
    unsafe {
        match W::ELEMENT {
            Element::Bf16 => std::array::from_fn(|i| {
                let pairs = vld1q_u32(step.cast::<u32>().add(i * LANES));
                vreinterpretq_f32_u32(vshlq_n_u32::<BF16_SHIFT>(pairs))
            }),
            Element::F16 => std::array::from_fn(|i| {
                let bits = vld1_u16(step.cast::<u16>().add(i * LANES));
                vcvt_f32_f16(vreinterpret_f16_u16(bits))
            }),
            Element::F32 => std::array::from_fn(|i| vld1q_f32(step.cast::<f32>().add(i * LANES))),
            Element::E4m3 => std::array::from_fn(|i| {
                let bytes = vld1_s8(step.cast::<i8>().add(i / 2 * 2 * LANES));
                let words = vshlq_n_s16::<E4M3_SHIFT>(vmovl_s8(bytes));
                let halves = vandq_u16(vreinterpretq_u16_s16(words), vdupq_n_u16(E4M3_IN_F16));
                let halves = match i % 2 {
                    0 => vget_low_u16(halves),
                    _ => vget_high_u16(halves),
                };
                vcvt_f32_f16(vreinterpret_f16_u16(halves))
            }),
        }
    }
}

/// Sums of `R` rows by `P` panels, in registers.
type Local<const R: usize, const P: usize> = [[[float32x4_t; QUARTERS]; P]; R];

/// # Safety
/// `tile.check()` holds, `tile` is `R` rows by `P` panels.
unsafe fn multiply<W: PanelElement, const R: usize, const P: usize>(
    tile: Tile<'_, W>,
    sums: Sums<'_>,
) {
    let at = |r: usize, p: usize, quarter: usize| sums.at(r, p * PANEL + quarter * LANES);
    let (mut x, mut w) = (tile.x.as_ptr(), tile.w.as_ptr());
    // SAFETY: `sums` is `R` rows of `P` panels; steps and rows stay within what `check` held.
    unsafe {
        let zero = vdupq_n_f32(0.0);
        let mut local = [[[zero; QUARTERS]; P]; R];
        if matches!(W::ELEMENT, Element::E4m3) {
            let mut fresh = sums.is_fresh();
            for (depth, scales) in tile.blocks() {
                let sum = steps::<W, R, P>(x, w, tile.panel_stride, depth, local);
                for p in 0..P {
                    for quarter in 0..QUARTERS {
                        let scale = vld1q_f32(&raw const scales[p * PANEL + quarter * LANES]);
                        for r in 0..R {
                            let before = match fresh {
                                true => zero,
                                false => vld1q_f32(at(r, p, quarter)),
                            };
                            let sum = vfmaq_f32(before, sum[r][p][quarter], scale);
                            vst1q_f32(at(r, p, quarter), sum);
                        }
                    }
                }
                (x, w, fresh) = (x.add(depth * R), w.add(depth * PANEL), false);
            }
            return;
        }
        if !sums.is_fresh() {
            for r in 0..R {
                for p in 0..P {
                    for quarter in 0..QUARTERS {
                        local[r][p][quarter] = vld1q_f32(at(r, p, quarter));
                    }
                }
            }
        }
        let local = steps::<W, R, P>(x, w, tile.panel_stride, tile.depth, local);
        for r in 0..R {
            for p in 0..P {
                for quarter in 0..QUARTERS {
                    vst1q_f32(at(r, p, quarter), local[r][p][quarter]);
                }
            }
        }
    }
}

/// Takes `depth` steps into `local`.
///
/// # Safety
/// That many steps lie at `x` and `w`, of `R` rows by `P` panels.
#[inline(always)]
unsafe fn steps<W: PanelElement, const R: usize, const P: usize>(
    mut x: *const f32,
    mut w: *const W,
    panel_stride: usize,
    depth: usize,
    mut local: Local<R, P>,
) -> Local<R, P> {
    let together = steps_together::<W>();
    // SAFETY: steps and rows by the caller.
    unsafe {
        for _ in 0..depth / together {
            match together {
                PAIR => take_pair::<R, P>(x, w.cast(), panel_stride, &mut local),
                _ => take_step::<W, R, P>(x, w, panel_stride, &mut local),
            }
            x = x.add(together * R);
            w = w.add(together * PANEL);
        }
        if depth % together > 0 {
            take_step::<W, R, P>(x, w, panel_stride, &mut local);
        }
    }
    local
}

/// The first of a pair alone.
///
/// # Safety
/// `R` activations lie at `x`, and at `w` a step of each of `P` panels, of bf16 a pair of them.
#[inline(always)]
unsafe fn take_step<W: PanelElement, const R: usize, const P: usize>(
    x: *const f32,
    w: *const W,
    panel_stride: usize,
    local: &mut Local<R, P>,
) {
    // SAFETY: by the caller.
    unsafe {
        for p in 0..P {
            let weights = panel_step(w.add(p * panel_stride));
            for r in 0..R {
                for quarter in 0..QUARTERS {
                    let sum = local[r][p][quarter];
                    local[r][p][quarter] = vfmaq_n_f32(sum, weights[quarter], *x.add(r));
                }
            }
        }
    }
}

/// A pair of steps, the second first.
///
/// # Safety
/// Two steps of `R` activations lie at `x`, and at `w` a pair of steps of each of `P` panels.
#[inline(always)]
unsafe fn take_pair<const R: usize, const P: usize>(
    x: *const f32,
    w: *const bf16,
    panel_stride: usize,
    local: &mut Local<R, P>,
) {
    // SAFETY: by the caller.
    unsafe {
        // Activations side by side in few registers, or sums would go to memory.
        let x = lanes::<R>(x);
        for p in 0..P {
            let w = w.add(p * panel_stride).cast::<u32>();
            for quarter in 0..QUARTERS {
                let pairs = vld1q_u32(w.add(quarter * LANES));
                let second = vandq_u32(pairs, vdupq_n_u32(UPPER_HALF));
                let first = vshlq_n_u32::<BF16_SHIFT>(pairs);
                for (weights, from) in [(second, R), (first, 0)] {
                    let weights = vreinterpretq_f32_u32(weights);
                    for r in 0..R {
                        let sum = local[r][p][quarter];
                        local[r][p][quarter] = multiply_lane(sum, weights, &x, from + r);
                    }
                }
            }
        }
    }
}

/// The activations of a pair.
///
/// # Safety
/// `2 R` lie at `x`.
#[inline(always)]
unsafe fn lanes<const R: usize>(x: *const f32) -> [float32x4_t; QUADS] {
    std::array::from_fn(|i| {
        let start = i * LANES;
        // SAFETY: as many as are read lie there, by the caller: an even number does.
        unsafe {
            match (PAIR * R).saturating_sub(start) {
                0 => vdupq_n_f32(0.0),
                2 => vcombine_f32(vld1_f32(x.add(start)), vdup_n_f32(0.0)),
                _ => vld1q_f32(x.add(start)),
            }
        }
    })
}

/// `sum + weights * x[i]`.
#[inline(always)]
fn multiply_lane(
    sum: float32x4_t,
    weights: float32x4_t,
    x: &[float32x4_t; QUADS],
    i: usize,
) -> float32x4_t {
    let x = x[i / LANES];
    // SAFETY: NEON is part of every aarch64 target.
    unsafe {
        match i % LANES {
            0 => vfmaq_laneq_f32::<0>(sum, weights, x),
            1 => vfmaq_laneq_f32::<1>(sum, weights, x),
            2 => vfmaq_laneq_f32::<2>(sum, weights, x),
            _ => vfmaq_laneq_f32::<3>(sum, weights, x),
        }
    }
}
