//! The seam of a linear layer's innermost loop: what an instruction set must supply.

use std::marker::PhantomData;

use super::panel::{PANEL, PanelElement};
use super::shared::SharedOut;

/// Most sums of a tile: AVX-512's 24 registers of 16. AVX2 takes 12 of 8, NEON 24 of 4; the rest of
/// their registers hold operands.
pub const TILE_SUMS: usize = 384;

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
    pub(super) fn check(&self, sums: &Sums) {
        assert!(self.x.len() >= self.depth * self.rows);
        assert!(self.panels > 0 && self.rows > 0);
        assert!(self.rows * self.panels * PANEL <= TILE_SUMS);
        assert!(self.w.len() >= (self.panels - 1) * self.panel_stride + self.depth * PANEL);
        assert!(sums.rows == self.rows && sums.width == self.panels * PANEL);
    }
}

/// Where the sums of a tile lie between blocks of k: whole rows of the output, or of a scratch.
pub struct Sums<'a> {
    start: *mut f32,
    stride: usize,
    rows: usize,
    width: usize,
    fresh: bool,
    borrowed: PhantomData<&'a mut [f32]>,
}

impl<'a> Sums<'a> {
    /// `[rows, width]`, rows side by side. `fresh`: sums start from zero, not from what lies there.
    pub fn new(sums: &'a mut [f32], rows: usize, width: usize, fresh: bool) -> Self {
        let out = SharedOut::new(sums);
        // SAFETY: `sums` is borrowed mutably for as long as the result lives.
        unsafe { Self::within(out, 0, width, rows, width, fresh) }
    }

    /// `[rows, width]` of `out`, from `start`, rows `stride` apart.
    ///
    /// # Safety
    /// The memory behind `out` is borrowed for `'a`, and these rows are the caller's alone.
    pub(super) unsafe fn within(
        out: SharedOut,
        start: usize,
        stride: usize,
        rows: usize,
        width: usize,
        fresh: bool,
    ) -> Self {
        assert!(rows > 0 && width <= stride);
        Self {
            start: out.at(start, (rows - 1) * stride + width),
            stride,
            rows,
            width,
            fresh,
            borrowed: PhantomData,
        }
    }

    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The sums of row `r`.
    pub fn row(&mut self, r: usize) -> &mut [f32] {
        assert!(r < self.rows);
        // SAFETY: row `r` lies within what `within` held, and `self` is its only user.
        unsafe { std::slice::from_raw_parts_mut(self.at(r, 0), self.width) }
    }

    /// Column `column` of row `r`; in bounds for rows and columns of the tile.
    #[inline(always)]
    pub(super) fn at(&self, r: usize, column: usize) -> *mut f32 {
        self.start.wrapping_add(r * self.stride + column)
    }
}

/// What an instruction set supplies. A value of the type proves that the host has it.
pub trait MicroKernel: Copy + Send + Sync {
    /// Rows of the tallest tile.
    const ROWS: usize;
    /// Most steps of a block of k: its weights and a tile's activations lie in L1 together. For bf16
    /// these are 16 KiB and, of 6 rows, 12 KiB. Half of it loses 6 % to the ends of such tiles.
    const K_BLOCK: usize = 512;

    /// Panels at once for a tile of `rows`: enough independent sums to hide the add latency. A kernel
    /// also takes one; and, for tiles from half of `ROWS` up, what a tile one row taller takes.
    fn panels(rows: usize) -> usize;

    /// Continues `sums`, `[rows, panels * 16]`, with one multiply-add a step, in order of k.
    fn tile<W: PanelElement>(self, tile: Tile<'_, W>, sums: Sums<'_>);
}
