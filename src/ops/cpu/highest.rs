//! The head of a greedy step: the highest column of each row of `x Wᵀ + b`, never the whole product.
//!
//! A vocabulary of 150,000 logits a row would be written to memory and read back once; here a few
//! panels' worth at a time stays in L1.

use std::cell::RefCell;

use super::best::with_best_kernel;
use super::columns::{Parts, panel_sums};
use super::gemm::{Gemm, for_row_blocks};
use super::panel::{PANEL, PanelElement};
use super::tile::MicroKernel;
use super::workers;
use crate::ops::row;

/// Panels whose sums are held at a time.
const GROUP: usize = 8;
/// No column yet: any number is higher.
const NONE: (u32, f32) = (0, f32::NEG_INFINITY);

thread_local! {
    /// Sums of a group of panels, `[rows, GROUP * PANEL]`.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// What each part found, `[parts, rows]`.
    static FOUND: RefCell<Vec<(u32, f32)>> = const { RefCell::new(Vec::new()) };
}

/// `(column, value)` of the highest element of each row of the product, the lowest column on a tie,
/// with the best kernel of this host, on the current `workers`. `job.ldo` is not used. A row with a NaN
/// gives a NaN, as [`row::argmax`] does.
///
/// # Panics
/// If a slice is shorter than its shape says, or `highest` is not `[rows]`.
pub fn highest<W: PanelElement>(job: &Gemm<'_, W>, highest: &mut [(u32, f32)]) {
    with_best_kernel!(job.activations, kernel => highest_with(kernel, job, highest));
}

/// [`highest`] with a given kernel.
///
/// # Panics
/// As [`highest`].
pub fn highest_with<M: MicroKernel, W: PanelElement>(
    kernel: M,
    job: &Gemm<'_, W>,
    highest: &mut [(u32, f32)],
) {
    assert_eq!(highest.len(), job.rows, "one result a row");
    highest.fill(NONE);
    if job.rows == 0 || job.n == 0 {
        return;
    }
    job.check_inputs();
    let mut found = FOUND.take();
    for_row_blocks::<M, W>(job, |rows, packed| {
        let parts = Parts::of::<M, W>(job, rows.len());
        found.clear();
        found.resize(parts.count * rows.len(), NONE);
        // Each part's results lie side by side; parts are many for the threads, so not `each_chunk`.
        workers::each_chunk_when_free(&mut found, rows.len(), |part, found| {
            let panels = parts.panels(part);
            for first in panels.clone().step_by(GROUP) {
                let end = panels.end.min(first + GROUP);
                group(kernel, job, packed, first..end, found);
            }
        });
        for found in found.chunks_exact(rows.len()) {
            for (highest, &found) in highest[rows.clone()].iter_mut().zip(found) {
                *highest = row::higher(*highest, found);
            }
        }
    });
    FOUND.set(found);
}

/// Takes the columns of `panels` into `highest`.
fn group<M: MicroKernel, W: PanelElement>(
    kernel: M,
    job: &Gemm<'_, W>,
    packed: &[f32],
    panels: std::ops::Range<usize>,
    highest: &mut [(u32, f32)],
) {
    let first = panels.start * PANEL;
    let width = (panels.len() * PANEL).min(job.n - first);
    let rows = highest.len();
    let mut sums = SUMS.take();
    sums.resize(rows * GROUP * PANEL, 0.0);
    panel_sums(kernel, job, packed, (panels.start, width), rows, &mut sums);
    for (highest, sums) in highest.iter_mut().zip(sums.chunks_exact(width)) {
        let (index, value) = row::argmax(sums);
        *highest = row::higher(*highest, (first as u32 + index, value));
    }
    SUMS.set(sums);
}
