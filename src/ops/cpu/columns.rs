//! The output columns of a block of rows: the panels over the threads, and each panel's tiles.

use std::cell::RefCell;
use std::ops::Range;

use super::job::Gemm;
use super::packing::Packing;
use super::panel::{PANEL, PanelElement, packed_steps, steps_together};
use super::shared::SharedOut;
use super::tile::{MicroKernel, Scaling, Sums, TILE_SUMS, Tile, tile_rows};
use super::workers;

/// At least so many bytes ahead of its use a lone tile's weights are asked for: 32 steps of e4m3 are too few.
const PREFETCH_BYTES: usize = 1 << 10;
/// Multiply-adds below which waking other threads costs more than it saves (about 10 µs of one).
pub(super) const MIN_PARALLEL: usize = 1 << 18;
/// Runs of panels a thread: where another program takes a core for a while, the other one goes on.
const PARTS_PER_THREAD: usize = 16;

thread_local! {
    /// Scales of the columns of a group of panels, for each block of k that is taken at once.
    static COLUMN_SCALES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// All output columns of a block of rows, the panels split over the threads.
pub(super) fn columns<M: MicroKernel, W: PanelElement>(
    kernel: M,
    job: &Gemm<'_, W>,
    rows: Range<usize>,
    packed: &[f32],
    out: SharedOut,
) {
    let parts = Parts::of::<M, W>(job, rows.len());
    workers::each_when_free(parts.count, |part| {
        let range = parts.panels(part);
        // SAFETY: parts are disjoint panels, so disjoint columns of `out`, whose size was checked.
        unsafe { panel_range(kernel, job, rows.clone(), packed, range, out) };
    });
}

/// How the columns are split over the threads: into runs of whole groups of panels, as far as there are
/// enough of them, for a panel left over is a tile too narrow to keep memory busy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub count: usize,
    panels: usize,
    /// Panels that stay together.
    unit: usize,
}

impl Parts {
    pub fn of<M: MicroKernel, W>(job: &Gemm<'_, W>, rows: usize) -> Self {
        let panels = job.n.div_ceil(PANEL);
        let (threads, group) = (workers::threads(), tallest_panels::<M>(rows));
        let unit = match panels / group >= threads {
            true => group,
            false => 1,
        };
        let count = match rows * job.n * job.k < MIN_PARALLEL {
            true => 1,
            false => (threads * PARTS_PER_THREAD).min(panels.div_ceil(unit)),
        };
        Self {
            count,
            panels,
            unit,
        }
    }

    /// The panels of part `part`.
    pub fn panels(self, part: usize) -> Range<usize> {
        let units = self.panels.div_ceil(self.unit);
        let start = |part: usize| (part * units / self.count * self.unit).min(self.panels);
        start(part)..start(part + 1)
    }
}

/// Panels that the tallest tile of `rows` rows takes at once.
pub(super) fn tallest_panels<M: MicroKernel>(rows: usize) -> usize {
    // The first tile is the tallest.
    M::panels(tile_rows(rows, rows.div_ceil(M::ROWS), 0).len())
}

/// `sums`, `[rows, width]`: `width` columns from `panel` on, of rows whose activations are `packed`.
///
/// # Panics
/// If `sums` are fewer.
pub(super) fn panel_sums<M: MicroKernel, W: PanelElement>(
    kernel: M,
    job: &Gemm<'_, W>,
    packed: &[f32],
    (panel, width): (usize, usize),
    rows: usize,
    sums: &mut [f32],
) {
    let part = job.panels_from(panel, width);
    let out = SharedOut::new(&mut sums[..rows * width]);
    // SAFETY: `sums` are borrowed for this call, and are the whole output of `part`.
    unsafe {
        panel_range(
            kernel,
            &part,
            0..rows,
            packed,
            0..width.div_ceil(PANEL),
            out,
        )
    };
}

/// The columns of `panels`, of rows whose activations are `packed`.
///
/// # Safety
/// `out` holds `job`'s output and nobody else touches the columns of `panels` meanwhile.
pub(super) unsafe fn panel_range<M: MicroKernel, W: PanelElement>(
    kernel: M,
    job: &Gemm<'_, W>,
    rows: Range<usize>,
    packed: &[f32],
    panels: Range<usize>,
    out: SharedOut,
) {
    let tiles = rows.len().div_ceil(M::ROWS);
    let most = tallest_panels::<M>(rows.len());
    let prefetched = (M::prefetch_steps(rows.len()) * PANEL).max(PREFETCH_BYTES / size_of::<W>());
    let packing = Packing::of::<M, W>(job.activations);
    let panel_stride = PANEL * packed_steps::<W>(job.k);
    let mut column_scales = COLUMN_SCALES.take();
    let mut k_start = 0;
    loop {
        let k = k_start..next_k_block::<M, W>(job, k_start, tiles);
        let mut panel = panels.start;
        while panel < panels.end {
            let group = if panel + most <= panels.end { most } else { 1 };
            let scaling = job.scales.as_ref().map(|scales| {
                let columns = panel * PANEL..(panel + group) * PANEL;
                scales.spread(&k, columns, job.n, M::E4M3_FACTOR, &mut column_scales);
                Scaling {
                    first_block: scales.block_end(k.start) - k.start,
                    block: scales.block[1],
                    columns: &column_scales,
                }
            });
            for tile in 0..tiles {
                let range = tile_rows(rows.len(), tiles, tile);
                // A lone tile asks for its own weights; others fetch the next panels' between them.
                let (ahead, ahead_step) = match tiles {
                    1 => (prefetched, PANEL),
                    _ => (
                        group * panel_stride + tile * k.len() * PANEL / tiles,
                        PANEL.div_ceil(tiles),
                    ),
                };
                let task = Tile {
                    x: &packed[range.start * job.k + packing.words(k.start) * range.len()..],
                    rows: range.len(),
                    depth: k.len(),
                    w: &job.w[panel * panel_stride + k.start * PANEL..],
                    panel_stride,
                    panels: group,
                    scaling,
                    ahead,
                    ahead_step,
                };
                let first_row = rows.start + range.start;
                // SAFETY: rows and columns of the output of `job`; the caller owns these columns.
                unsafe { run_tile(kernel, job, task, &k, panel, first_row, out) };
            }
            panel += group;
        }
        k_start = k.end;
        if k_start == job.k {
            break;
        }
    }
    COLUMN_SCALES.set(column_scales);
}

/// Where the block of k that begins at `start` ends: a single tile uses each weight once, and nothing is gained
/// by keeping a block of them near; others take blocks that stay in L1. Scaled blocks are never cut.
fn next_k_block<M: MicroKernel, W: PanelElement>(
    job: &Gemm<'_, W>,
    start: usize,
    tiles: usize,
) -> usize {
    if tiles == 1 {
        return job.k;
    }
    match &job.scales {
        None => {
            let blocks = job.k.div_ceil(M::K_BLOCK).max(1);
            let steps = job.k.div_ceil(blocks).max(1);
            let steps = steps.next_multiple_of(steps_together::<W>());
            job.k.min(start + steps)
        }
        Some(scales) => {
            let more = M::K_BLOCK.saturating_sub(scales.block[1]) / scales.block[1];
            let end = scales.block_end(start) + more * scales.block[1];
            job.k.min(end)
        }
    }
}

/// Takes one tile's block `k` into the output; after the last block, adds the bias.
///
/// # Safety
/// `out` holds `job`'s output and nobody else touches the columns of the tile's panels meanwhile.
unsafe fn run_tile<M: MicroKernel, W: PanelElement>(
    kernel: M,
    job: &Gemm<'_, W>,
    tile: Tile<'_, W>,
    k: &Range<usize>,
    panel: usize,
    first_row: usize,
    out: SharedOut,
) {
    let first = panel * PANEL;
    let wide = tile.panels * PANEL;
    let width = wide.min(job.n - first);
    let fresh = k.start == 0;
    // SAFETY: within the output of `job`, and the caller's alone.
    let row = |r: usize| unsafe { out.slice((first_row + r) * job.ldo + first, width) };
    if width == wide {
        let start = first_row * job.ldo + first;
        // SAFETY: as above.
        let sums = unsafe { Sums::within(out, start, job.ldo, tile.rows, wide, fresh) };
        kernel.tile(tile, sums);
    } else {
        // Columns past the last would land on the next row.
        let mut scratch = [0.0; TILE_SUMS];
        for (r, sums) in scratch.chunks_exact_mut(wide).take(tile.rows).enumerate() {
            sums[..width].copy_from_slice(row(r));
        }
        kernel.tile(tile, Sums::new(&mut scratch, tile.rows, wide, fresh));
        for (r, sums) in scratch.chunks_exact(wide).take(tile.rows).enumerate() {
            row(r).copy_from_slice(&sums[..width]);
        }
    }
    if let Some(bias) = job.bias.filter(|_| k.end == job.k) {
        for r in 0..tile.rows {
            let out = row(r).iter_mut();
            out.zip(&bias[first..]).for_each(|(out, bias)| *out += bias);
        }
    }
}
