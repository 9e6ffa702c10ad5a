//! `out = x Wᵀ + b` over packed weights, for one row (decode) to thousands (prefill).
//!
//! Rows are taken in blocks whose activations stay in L2, K in blocks whose weights stay near (L1, or L2), and
//! the panels are split over the threads once. An output element is one chain of multiply-adds over
//! k, whatever the tile, block or thread: a row's result is the same bits in every batch. The chain goes in order
//! of k; of bf16 weights in order of pairs, a pair's second step before its first, as processors do that multiply
//! such pairs. Of an e4m3 weight it is one such chain for each block of its scales, and one over the blocks in order.

use std::cell::RefCell;
use std::ops::Range;

use super::best::with_best_kernel;
use super::columns::columns;
pub use super::job::Gemm;
use super::packing::Packing;
use super::panel::PanelElement;
use super::shared::SharedOut;
use super::tile::{MicroKernel, tile_rows};
use super::workers;

/// Rows of a block: 120 rows of 512 steps are 240 KiB, half of a common L2.
pub(super) const ROW_BLOCK: usize = 120;
/// Activations below which they are packed on the calling thread.
pub(super) const MIN_PARALLEL_PACK: usize = 1 << 14;

/// `out[i] = x[i] Wᵀ + bias` with the best kernel of this host, on the current `workers`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn linear<W: PanelElement>(job: &Gemm<'_, W>, out: &mut [f32]) {
    with_best_kernel!(job.activations, kernel => linear_with(kernel, job, out));
}

thread_local! {
    /// Packed activations of a block, grown to the largest layer and kept.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// [`linear`] with a given kernel.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn linear_with<M: MicroKernel, W: PanelElement>(kernel: M, job: &Gemm<'_, W>, out: &mut [f32]) {
    if job.rows == 0 || job.n == 0 {
        return;
    }
    job.check(out);
    let out = SharedOut::new(out);
    // One row is a tile as it is.
    if job.rows == 1 && Packing::of::<M, W>(job.activations).is_plain() {
        return columns(kernel, job, 0..1, &job.x[..job.k], out);
    }
    for_row_blocks::<M, W>(job, |rows, packed| columns(kernel, job, rows, packed, out));
}

/// Calls `f` with each block of rows and its packed activations.
pub(super) fn for_row_blocks<M: MicroKernel, W: PanelElement>(
    job: &Gemm<'_, W>,
    mut f: impl FnMut(Range<usize>, &[f32]),
) {
    // Taken, not borrowed: a thread that waits for others may run another call of this function.
    let mut packed = PACKED.take();
    let blocks = job.rows.div_ceil(ROW_BLOCK);
    let block = job.rows.div_ceil(blocks).next_multiple_of(M::ROWS);
    for start in (0..job.rows).step_by(block) {
        let rows = start..job.rows.min(start + block);
        let len = rows.len() * job.k;
        if packed.len() < len {
            packed.resize(len, 0.0);
        }
        pack_activations::<M, W>(job, rows.clone(), &mut packed[..len]);
        f(rows, &packed[..len]);
    }
    PACKED.set(packed);
}

/// `packed`: tiles one after another, each `[words of k, rows of the tile]` with room for `[k, rows]`.
fn pack_activations<M: MicroKernel, W: PanelElement>(
    job: &Gemm<'_, W>,
    rows: Range<usize>,
    packed: &mut [f32],
) {
    let tiles = rows.len().div_ceil(M::ROWS);
    let out = SharedOut::new(packed);
    let packing = Packing::of::<M, W>(job.activations);
    let pack = |tile: usize| {
        let range = tile_rows(rows.len(), tiles, tile);
        // SAFETY: tiles are disjoint ranges of rows, so of `packed`, and `packed` is whole.
        let steps = unsafe { out.slice(range.start * job.k, range.len() * job.k) };
        let first = rows.start + range.start;
        let row = |r: usize| &job.x[(first + r) * job.ldx..][..job.k];
        packing.tile(steps, range.len(), row);
    };
    if rows.len() * job.k < MIN_PARALLEL_PACK {
        (0..tiles).for_each(pack);
    } else {
        workers::each(tiles, pack);
    }
}
