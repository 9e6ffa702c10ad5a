//! `out = x Wᵀ + b` over packed weights, for one row (decode) to thousands (prefill).
//!
//! Rows are taken in blocks whose activations stay in L2, K in blocks whose weights stay in L1, and
//! the panels are split over the threads once. An output element is one chain of multiply-adds over
//! k in order, whatever the tile, block or thread: a row's result is the same bits in every batch.

use std::cell::RefCell;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::kernel_avx2::Avx2;
use super::kernel_portable::Portable;
use super::panel::{PANEL, PanelElement, packed_len};
use super::workers;

/// Sums that a tile holds: 12 registers of 8, which leaves 4 of AVX2's 16 for operands.
pub const TILE_SUMS: usize = 96;
/// Rows of a block: 240 rows of `K_BLOCK` steps are 240 KiB, half of a common L2.
const ROW_BLOCK: usize = 240;
/// Steps of a block: a bf16 panel block, the next one on its way (8 KiB each) and a tile's
/// activations (6 KiB) lie in L1 together.
const K_BLOCK: usize = 256;
/// How far ahead of its use a lone tile's weights are asked for.
const PREFETCH_STEPS: usize = 32;
/// Multiply-adds below which waking other threads costs more than it saves (about 10 µs of one).
const MIN_PARALLEL: usize = 1 << 18;
/// Runs of panels a thread: where another program takes a core for a while, the other one goes on.
const PARTS_PER_THREAD: usize = 4;
/// Activations below which they are packed on the calling thread.
const MIN_PARALLEL_PACK: usize = 1 << 16;

/// `rows` activation rows against `panels` neighbouring panels, over `depth` steps of k.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a, W> {
    /// `[depth, rows]`.
    pub x: &'a [f32],
    pub rows: usize,
    pub depth: usize,
    /// From the first step of the first panel.
    pub w: &'a [W],
    /// Elements from one panel to the next.
    pub panel_stride: usize,
    pub panels: usize,
    /// What to ask memory for meanwhile: at step `i`, `w` and `ahead + i * ahead_step` elements on.
    /// Only a hint; it may lie past the weights.
    pub ahead: usize,
    pub ahead_step: usize,
}

impl<W> Tile<'_, W> {
    /// Holds what a kernel's pointers rely on.
    pub(super) fn check(&self) {
        assert!(self.x.len() >= self.depth * self.rows);
        assert!(self.panels > 0 && self.rows > 0);
        assert!(self.rows * self.panels * PANEL <= TILE_SUMS);
        assert!(self.w.len() >= (self.panels - 1) * self.panel_stride + self.depth * PANEL);
    }
}

/// What an instruction set supplies. A value of the type proves that the host has it.
pub trait MicroKernel: Copy + Send + Sync {
    /// Rows of the tallest tile.
    const ROWS: usize;

    /// Panels at once for a tile of `rows`: enough independent sums to hide the add latency.
    fn panels(rows: usize) -> usize;

    /// Continues `sums`, `[rows, panels, 16]`, with one multiply-add a step, in order of k.
    fn tile<W: PanelElement>(self, tile: Tile<'_, W>, sums: &mut [f32; TILE_SUMS]);
}

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
    fn check(&self, out: &[f32]) {
        let last = self.rows - 1;
        assert!(self.x.len() >= last * self.ldx + self.k, "activations");
        assert!(self.w.len() >= packed_len(self.n, self.k), "packed weight");
        assert!(self.bias.is_none_or(|bias| bias.len() >= self.n), "bias");
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
#[cfg(target_arch = "x86_64")]
pub fn linear<W: PanelElement>(job: &Gemm<'_, W>, out: &mut [f32]) {
    match Avx2::detect() {
        Some(kernel) => linear_with(kernel, job, out),
        None => linear_with(Portable, job, out),
    }
}

/// `out[i] = x[i] Wᵀ + bias` with the best kernel of this host, on the current `workers`.
///
/// # Panics
/// If a slice is shorter than its shape says.
#[cfg(not(target_arch = "x86_64"))]
pub fn linear<W: PanelElement>(job: &Gemm<'_, W>, out: &mut [f32]) {
    linear_with(Portable, job, out);
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
        columns(kernel, job, rows, &packed[..len], out);
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
    let panels = job.n.div_ceil(PANEL);
    let small = rows.len() * job.n * job.k < MIN_PARALLEL;
    let parts = match small {
        true => 1,
        false => (workers::threads() * PARTS_PER_THREAD).min(panels),
    };
    workers::each_when_free(parts, |part| {
        let range = part * panels / parts..(part + 1) * panels / parts;
        // SAFETY: parts are disjoint panels, so disjoint columns of `out`, whose size was checked.
        unsafe { panel_range(kernel, job, rows.clone(), packed, range, out) };
    });
}

/// # Safety
/// `out` holds `job`'s output and nobody else touches the columns of `panels` meanwhile.
unsafe fn panel_range<M: MicroKernel, W: PanelElement>(
    kernel: M,
    job: &Gemm<'_, W>,
    rows: Range<usize>,
    packed: &[f32],
    panels: Range<usize>,
    out: SharedOut,
) {
    let tiles = rows.len().div_ceil(M::ROWS);
    // A single tile uses each weight once: nothing is gained by keeping a block of them near.
    let (k_block, group) = match tiles {
        1 => (job.k, M::panels(rows.len())),
        _ => (K_BLOCK, 1),
    };
    let panel_stride = PANEL * job.k;
    let mut sums = [0.0; TILE_SUMS];
    for k_start in (0..job.k.max(1)).step_by(k_block.max(1)) {
        let k_end = job.k.min(k_start + k_block);
        let mut panel = panels.start;
        while panel < panels.end {
            let group = if panel + group <= panels.end {
                group
            } else {
                1
            };
            let first = panel * PANEL;
            let width = (job.n - first).min(group * PANEL);
            for tile in 0..tiles {
                let range = tile_rows(rows.len(), tiles, tile);
                let height = range.len();
                let row_sums = |r: usize| r * group * PANEL..r * group * PANEL + width;
                // SAFETY: rows and columns of the output of `job`; the caller owns these columns.
                let row_out = |r: usize| unsafe {
                    out.slice((rows.start + range.start + r) * job.ldo + first, width)
                };
                if k_start == 0 {
                    sums.fill(0.0);
                } else {
                    for r in 0..height {
                        sums[row_sums(r)].copy_from_slice(row_out(r));
                    }
                }
                let depth = k_end - k_start;
                // A lone tile asks for its own weights; others fetch the next panel's between them.
                let (ahead, ahead_step) = match tiles {
                    1 => (PREFETCH_STEPS * PANEL, PANEL),
                    _ => (
                        panel_stride + tile * depth * PANEL / tiles,
                        PANEL.div_ceil(tiles),
                    ),
                };
                let task = Tile {
                    x: &packed[range.start * job.k + k_start * height..],
                    rows: height,
                    depth,
                    w: &job.w[panel * panel_stride + k_start * PANEL..],
                    panel_stride,
                    panels: group,
                    ahead,
                    ahead_step,
                };
                kernel.tile(task, &mut sums);
                let bias = job.bias.filter(|_| k_end == job.k);
                for r in 0..height {
                    let out = row_out(r);
                    out.copy_from_slice(&sums[row_sums(r)]);
                    if let Some(bias) = bias {
                        out.iter_mut()
                            .zip(&bias[first..])
                            .for_each(|(o, b)| *o += b);
                    }
                }
            }
            panel += group;
        }
    }
}

/// An output that threads fill in disjoint parts which are not contiguous.
#[derive(Clone, Copy)]
pub(super) struct SharedOut {
    start: *mut f32,
    len: usize,
}

// SAFETY: access goes through `slice`, whose caller answers for disjointness.
unsafe impl Send for SharedOut {}
// SAFETY: as above.
unsafe impl Sync for SharedOut {}

impl SharedOut {
    /// The caller keeps `out` borrowed for as long as copies of the result are used.
    pub(super) fn new(out: &mut [f32]) -> Self {
        Self {
            start: out.as_mut_ptr(),
            len: out.len(),
        }
    }

    /// # Safety
    /// The memory behind `new` is still borrowed, and no other reference to this range exists.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice<'a>(&self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start <= self.len && len <= self.len - start, "output range");
        // SAFETY: in bounds by the line above; the caller answers for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
