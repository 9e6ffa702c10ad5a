//! The seam of a linear layer's innermost loop: what an instruction set must supply.

use std::marker::PhantomData;
use std::ops::Range;

use super::panel::{Element, PANEL, PanelElement, packed_steps};
use super::shared::SharedOut;

/// Most sums of a tile: AVX-512's 24 registers of 16. AVX2 takes 12 of 8, NEON 24 of 4; the rest of
/// their registers hold operands.
pub const TILE_SUMS: usize = 384;

/// Blocks of k whose sums are scaled, column by column, before they join those of earlier blocks.
#[derive(Debug, Clone, Copy)]
pub struct Scaling<'a> {
    /// Steps of the first block, and of each one after it; the last may be cut short.
    pub first_block: usize,
    pub block: usize,
    /// `[blocks, panels * 16]`.
    pub columns: &'a [f32],
}

impl<'a> Scaling<'a> {
    /// The steps and the column scales of each block of a tile of `depth` steps and `width` columns.
    pub fn blocks(self, depth: usize, width: usize) -> impl Iterator<Item = (usize, &'a [f32])> {
        let ends = (0..).map(move |i| (self.first_block + i * self.block).min(depth));
        let mut start = 0;
        ends.zip(self.columns.chunks_exact(width))
            .map(move |(end, scales)| (end - std::mem::replace(&mut start, end), scales))
    }
}

/// `rows` activation rows against `panels` neighbouring panels, over `depth` steps of k.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a, W> {
    /// `[words, rows]`: a word for each of `depth` steps, or for each two where the kernel takes them in pairs.
    pub x: &'a [f32],
    pub rows: usize,
    pub depth: usize,
    /// From the first step of the first panel.
    pub w: &'a [W],
    /// Elements from one panel to the next.
    pub panel_stride: usize,
    pub panels: usize,
    /// Of e4m3 weights, and of no others.
    pub scaling: Option<Scaling<'a>>,
    /// What to ask memory for meanwhile: at step `i`, `w` and `ahead + i * ahead_step` elements on.
    /// Only a hint; it may lie past the weights.
    pub ahead: usize,
    pub ahead_step: usize,
}

impl<W: PanelElement> Tile<'_, W> {
    /// Holds what a kernel's pointers rely on.
    pub(super) fn check(&self, sums: &Sums, pairs: bool) {
        let words = if pairs {
            self.depth.div_ceil(2)
        } else {
            self.depth
        };
        assert!(self.x.len() >= words * self.rows);
        assert!(self.panels > 0 && self.rows > 0);
        assert!(self.rows * self.panels * PANEL <= TILE_SUMS);
        let steps = packed_steps::<W>(self.depth);
        assert!(self.w.len() >= (self.panels - 1) * self.panel_stride + steps * PANEL);
        assert!(sums.rows == self.rows && sums.width == self.panels * PANEL);
        assert!(matches!(W::ELEMENT, Element::E4m3) == self.scaling.is_some());
    }

    /// The steps and the column scales of each block: see [`Scaling::blocks`]. None of an unscaled tile.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let (depth, width) = (self.depth, self.panels * PANEL);
        self.scaling
            .into_iter()
            .flat_map(move |scaling| scaling.blocks(depth, width))
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
    /// Rows of a block: 120 rows of 512 steps are 240 KiB, half of a common L2.
    const ROW_BLOCK: usize = 120;
    /// Whether activations meet bf16 weights in pairs of bf16.
    const PAIRS: bool = false;
    /// What activations are multiplied by before they meet e4m3 weights.
    const E4M3_ACTIVATIONS: f32 = 1.0;
    /// What their products then still are to be multiplied by: the weights' scales are.
    const E4M3_FACTOR: f32 = 1.0;

    /// Panels at once for a tile of `rows`: enough independent sums to hide the add latency. A kernel
    /// also takes one; and, for tiles from half of `ROWS` up, what a tile one row taller takes.
    fn panels(rows: usize) -> usize;

    /// Continues `sums`, `[rows, panels * 16]`, with one multiply-add a step, in order of k, but of bf16 weights the second
    /// of a pair before the first. Scaled: with one a
    /// block, of the sum of its steps from zero and its column's scale.
    fn tile<W: PanelElement>(self, tile: Tile<'_, W>, sums: Sums<'_>);
}

/// Rows of tile `tile` of `tiles` equal ones (to within a row) over `rows` rows.
pub(super) fn tile_rows(rows: usize, tiles: usize, tile: usize) -> Range<usize> {
    // The taller tiles first, so that they are `rows % tiles` in number.
    let start = |i: usize| i * (rows / tiles) + i.min(rows % tiles);
    start(tile)..start(tile + 1)
}
