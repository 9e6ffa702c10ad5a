//! A gated layer of many rows in one: gate and up meet while a few panels of them lie near, and only their product goes
//! to memory.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::{Result, Tensor};

use super::activation::silu_mul;
use super::best::with_best_kernel;
use super::columns::{Parts, panel_sums};
use super::gemm::{Gemm, for_row_blocks};
use super::linear::with_bias;
use super::packing::Activations;
use super::panel::{PANEL, PanelElement};
use super::shared::SharedOut;
use super::tile::MicroKernel;
use super::{storage, workers};
use crate::ops::{Buffer, Linear};

/// Panels of gate, and of up, whose sums wait for each other.
const GROUP: usize = 4;
/// Fewer rows are bound by reading weights, which two streams of short runs would slow.
const MIN_ROWS: usize = 16;

thread_local! {
    /// Sums of a group of panels of gate, then of up, `[2, rows, GROUP * PANEL]`.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Whether `gate_up` can be taken so: up begins with a panel of its own, and no scales are to be applied.
pub fn gates(gate_up: &Linear, rows: usize) -> bool {
    rows >= MIN_ROWS && gate_up.scales.is_none() && gate_up.n.is_multiple_of(2 * PANEL)
}

/// `out = silu(x gateᵀ) * x upᵀ`, of rows for which [`gates`] holds.
pub fn gated(
    x: &Tensor,
    w: &Linear,
    activations: Activations,
    rows: usize,
    out: &Buffer,
) -> Result<()> {
    let (ldx, ldo, n, k) = (x.dim(1)?, out.dim(1)?, w.n, w.k);
    with_bias(w, |bias| {
        by_plain_dtype!(w.weight.dtype(), T => storage::read(&w.weight, |w: &[T]| {
            storage::read(x, |x: &[f32]| {
                storage::write(out, |out: &mut [f32]| {
                    let scales = None;
                    let job = Gemm { x, ldx, rows, activations, w, n, k, scales, bias, ldo };
                    with_best_kernel!(activations, kernel => multiply(kernel, &job, out));
                    Ok(())
                })
            })
        }))
    })
}

fn multiply<M: MicroKernel, W: PanelElement>(kernel: M, job: &Gemm<'_, W>, out: &mut [f32]) {
    let width = job.n / 2;
    if job.rows == 0 || width == 0 {
        return;
    }
    job.check_inputs();
    assert!(job.ldo >= width && out.len() >= (job.rows - 1) * job.ldo + width);
    let half = Gemm { n: width, ..*job };
    let out = SharedOut::new(out);
    for_row_blocks::<M, W>(job, |rows, packed| {
        let parts = Parts::of::<M, W>(&half, rows.len());
        workers::each_when_free(parts.count, |part| {
            let panels = parts.panels(part);
            for first in panels.clone().step_by(GROUP) {
                let group = first..panels.end.min(first + GROUP);
                // SAFETY: parts are disjoint columns of `out`, whose size was checked.
                unsafe { columns(kernel, job, rows.clone(), packed, group, out) };
            }
        });
    });
}

/// The columns of `panels` of the rows whose activations are `packed`.
///
/// # Safety
/// `out` holds `[rows, n / 2]` of `job`, and nobody else touches these columns meanwhile.
unsafe fn columns<M: MicroKernel, W: PanelElement>(
    kernel: M,
    job: &Gemm<'_, W>,
    rows: Range<usize>,
    packed: &[f32],
    panels: Range<usize>,
    out: SharedOut,
) {
    let (first, width, count) = (panels.start * PANEL, panels.len() * PANEL, rows.len());
    let mut sums = SUMS.take();
    sums.resize(2 * count * GROUP * PANEL, 0.0);
    let (gate, up) = sums[..2 * count * width].split_at_mut(count * width);
    let up_panel = job.n / 2 / PANEL + panels.start;
    panel_sums(kernel, job, packed, (panels.start, width), count, gate);
    panel_sums(kernel, job, packed, (up_panel, width), count, up);
    let pairs = gate.chunks_exact(width).zip(up.chunks_exact(width));
    for (row, (gate, up)) in rows.zip(pairs) {
        // SAFETY: the caller's own columns of a row of `out`.
        let out = unsafe { out.slice(row * job.ldo + first, width) };
        silu_mul(gate, up, out);
    }
    SUMS.set(sums);
}
