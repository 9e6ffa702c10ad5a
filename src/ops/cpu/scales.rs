//! The scales of an e4m3 weight as its kernels meet them: one for each column, block by block along k.

use std::ops::Range;

use super::panel::PANEL;

/// A view of the scales of a packed weight, or of some of its panels.
#[derive(Debug, Clone, Copy)]
pub struct Scales<'a> {
    /// `[grid rows, grid columns]`.
    pub values: &'a [f32],
    pub grid_columns: usize,
    /// Elements of a block along n and along k.
    pub block: [usize; 2],
    /// `(first row of the whole weight, row of values)`, ascending from row 0.
    pub runs: &'a [(usize, usize)],
    /// Where the weight's first column lies within its block.
    pub column_offset: usize,
    /// Row of the whole weight that is this weight's first.
    pub first_row: usize,
}

impl Scales<'_> {
    pub(super) fn check(&self, n: usize, k: usize) {
        let [rows, columns] = self.block;
        assert!(
            rows > 0 && k > 0 && self.column_offset < columns,
            "blocks of scales"
        );
        let needed = (self.column_offset + k).div_ceil(columns);
        assert!(self.grid_columns >= needed, "scales along k");
        let grid_rows = self.values.len() / self.grid_columns.max(1);
        let known = self.runs.iter().all(|&(_, row)| row < grid_rows);
        let whole = self.runs.first().is_some_and(|&(first, _)| first == 0);
        assert!(known && (whole || n == 0), "scales along n");
    }

    /// Those of the rows from `row` on.
    pub(super) fn starting_at(self, row: usize) -> Self {
        let first_row = self.first_row + row;
        Self { first_row, ..self }
    }

    /// Where the block of k that holds step `k` ends.
    pub(super) fn block_end(&self, k: usize) -> usize {
        let columns = self.block[1];
        ((self.column_offset + k) / columns + 1) * columns - self.column_offset
    }

    /// `out`: for each block that `k` touches, the scale of each of `columns`, times `factor`; of columns from
    /// `n` on, that of the last.
    pub(super) fn spread(
        &self,
        k: &Range<usize>,
        columns: Range<usize>,
        n: usize,
        factor: f32,
        out: &mut Vec<f32>,
    ) {
        let block = |k: usize| (self.column_offset + k) / self.block[1];
        let blocks = match k.is_empty() {
            true => 0..0,
            false => block(k.start)..block(k.end - 1) + 1,
        };
        let width = columns.len();
        out.resize(blocks.len() * width, 0.0);
        for panel in (0..width).step_by(PANEL) {
            let row = |i: usize| {
                let column = (columns.start + panel + i).min(n - 1);
                self.row(column) * self.grid_columns
            };
            // Runs ascend: where the ends agree, all do.
            let (first, last) = (row(0), row(PANEL - 1));
            let outs = out.chunks_exact_mut(width);
            let outs = outs
                .map(|out| &mut out[panel..panel + PANEL])
                .zip(blocks.clone());
            if first == last {
                outs.for_each(|(out, block)| out.fill(self.values[first + block] * factor));
                continue;
            }
            let rows = std::array::from_fn::<_, PANEL, _>(row);
            for (out, block) in outs {
                for (out, row) in out.iter_mut().zip(rows) {
                    *out = self.values[row + block] * factor;
                }
            }
        }
    }

    /// The row of `values` for a row of the weight.
    fn row(&self, row: usize) -> usize {
        let row = self.first_row + row;
        let after = self.runs.partition_point(|&(first, _)| first <= row);
        self.runs[after - 1].1
    }
}
