//! The way of x86-64's kernels through a tile, which asks memory ahead of itself.

use super::tile::Tile;

/// Where a tile's next step lies, for a kernel that takes its blocks one after another.
pub struct Cursor<W> {
    pub x: *const f32,
    pub w: *const W,
    pub panel_stride: usize,
    /// What to ask memory for, relative to `w`, which moves a panel's width a step.
    pub ahead: usize,
    pub ahead_step: usize,
}

impl<W> Cursor<W> {
    #[inline(always)]
    pub fn of(tile: &Tile<'_, W>) -> Self {
        Self {
            x: tile.x.as_ptr(),
            w: tile.w.as_ptr(),
            panel_stride: tile.panel_stride,
            ahead: tile.ahead,
            ahead_step: tile.ahead_step,
        }
    }
}
