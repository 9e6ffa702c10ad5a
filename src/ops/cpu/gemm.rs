//! `out = x Wᵀ + b` over packed weights, for one row (decode) to thousands (prefill).
//!
//! Rows are taken in blocks whose activations stay in L2, K in blocks whose weights stay in L1, and
//! the panels are split over the threads once. An output element is one chain of multiply-adds over
//! k in order, whatever the tile, block or thread: a row's result is the same bits in every batch.

use std::cell::RefCell;
use std::ops::Range;

use super::best::with_best_kernel;
use super::panel::{PANEL, PanelElement, packed_len};
use super::shared::SharedOut;
use super::tile::{MicroKernel, Sums, TILE_SUMS, Tile};
use super::workers;

/// Rows of a block: 120 rows of 512 steps are 240 KiB, half of a common L2.
const ROW_BLOCK: usize = 120;
/// How far ahead of its use a lone tile's weights are asked for.
const PREFETCH_STEPS: usize = 32;
/// Multiply-adds below which waking other threads costs more than it saves (about 10 µs of one).
const MIN_PARALLEL: usize = 1 << 18;
/// Runs of panels a thread: where another program takes a core for a while, the other one goes on.
const PARTS_PER_THREAD: usize = 4;
/// Activations below which they are packed on the calling thread.
const MIN_PARALLEL_PACK: usize = 1 << 16;

/// One linear layer over some rows.
#[derive(Debug, Clone, Copy)]
pub struct Gemm<'a, W> {
    /// `[rows, k]`, rows `ldx` apart.
    pub x: &'a [f32],
    pub ldx: usize,
    pub rows: usize,
    /// Packed `[n, k]`.
    pub w: &'a [W],
    pub n: usize,
    pub k: usize,
    /// `[n]`.
    pub bias: Option<&'a [f32]>,
    /// Distance of output rows, at least `n`.
    pub ldo: usize,
}

impl<W: PanelElement> Gemm<'_, W> {
    /// Holds what is read.
    pub(super) fn check_inputs(&self) {
        let last = self.rows - 1;
        assert!(self.x.len() >= last * self.ldx + self.k, "activations");
        assert!(self.w.len() >= packed_len(self.n, self.k), "packed weight");
        assert!(self.bias.is_none_or(|bias| bias.len() >= self.n), "bias");
    }

    fn check(&self, out: &[f32]) {
        let last = self.rows - 1;
        self.check_inputs();
        assert!(
            self.ldo >= self.n && out.len() >= last * self.ldo + self.n,
            "output"
        );
    }
}

/// `out[i] = x[i] Wᵀ + bias` with the best kernel of this host, on the current `workers`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn linear<W: PanelElement>(job: &Gemm<'_, W>, out: &mut [f32]) {
    with_best_kernel!(kernel => linear_with(kernel, job, out));
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
    if job.rows == 1 {
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

/// Rows of tile `tile` of `tiles` equal ones (to within a row) over `rows` rows.
fn tile_rows(rows: usize, tiles: usize, tile: usize) -> Range<usize> {
    // The taller tiles first, so that they are `rows % tiles` in number.
    let start = |i: usize| i * (rows / tiles) + i.min(rows % tiles);
    start(tile)..start(tile + 1)
}

/// `packed`: tiles one after another, each `[k, rows of the tile]`.
fn pack_activations<M: MicroKernel, W: PanelElement>(
    job: &Gemm<'_, W>,
    rows: Range<usize>,
    packed: &mut [f32],
) {
    let tiles = rows.len().div_ceil(M::ROWS);
    let out = SharedOut::new(packed);
    let pack_tile = |tile: usize| {
        let range = tile_rows(rows.len(), tiles, tile);
        let height = range.len();
        // SAFETY: tiles are disjoint ranges of rows, so of `packed`, and `packed` is whole.
        let steps = unsafe { out.slice(range.start * job.k, height * job.k) };
        for (r, row) in range.enumerate() {
            let row = &job.x[(rows.start + row) * job.ldx..][..job.k];
            for (step, &value) in steps.chunks_exact_mut(height).zip(row) {
                step[r] = value;
            }
        }
    };
    if rows.len() * job.k < MIN_PARALLEL_PACK {
        (0..tiles).for_each(pack_tile);
    } else {
        workers::each(tiles, pack_tile);
    }
}

/// All output columns of a block of rows, the panels split over the threads.
fn columns<M: MicroKernel, W: PanelElement>(
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
fn tallest_panels<M: MicroKernel>(rows: usize) -> usize {
    // The first tile is the tallest.
    M::panels(tile_rows(rows, rows.div_ceil(M::ROWS), 0).len())
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
    // A single tile uses each weight once: nothing is gained by keeping a block of them near.
    let k_blocks = match tiles {
        1 => 1,
        _ => job.k.div_ceil(M::K_BLOCK),
    };
    let k_block = job.k.div_ceil(k_blocks.max(1)).max(1);
    for k_start in (0..job.k.max(1)).step_by(k_block) {
        let k = k_start..job.k.min(k_start + k_block);
        let mut panel = panels.start;
        while panel < panels.end {
            let group = if panel + most <= panels.end { most } else { 1 };
            for tile in 0..tiles {
                let range = tile_rows(rows.len(), tiles, tile);
                // A lone tile asks for its own weights; others fetch the next panels' between them.
                let (ahead, ahead_step) = match tiles {
                    1 => (PREFETCH_STEPS * PANEL, PANEL),
                    _ => (
                        group * PANEL * job.k + tile * k.len() * PANEL / tiles,
                        PANEL.div_ceil(tiles),
                    ),
                };
                let task = Tile {
                    x: &packed[range.start * job.k + k.start * range.len()..],
                    rows: range.len(),
                    depth: k.len(),
                    w: &job.w[panel * PANEL * job.k + k.start * PANEL..],
                    panel_stride: PANEL * job.k,
                    panels: group,
                    ahead,
                    ahead_step,
                };
                let first_row = rows.start + range.start;
                // SAFETY: rows and columns of the output of `job`; the caller owns these columns.
                unsafe { run_tile(kernel, job, task, &k, panel, first_row, out) };
            }
            panel += group;
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
