//! How one call's work is cut into items.

use std::ops::Range;

use super::super::panel::PanelElement;
use super::Attend;

/// Query rows times heads of a group in one work item: their q and sums stay in L2, and few enough
/// that a prefill chunk is many items.
const TILE_QUERIES: usize = 64;
/// Items that a thread is left, so that uneven ones even out.
const ITEMS_PER_THREAD: usize = 2;
/// Positions whose sums are taken on their own. Several threads may share a context by stretches.
pub const STRETCH: usize = 1024;

/// Some query rows of one sequence, for some kv heads: what one thread does at a time.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    pub sequence: u32,
    /// Among all rows.
    pub first_row: u32,
    pub rows: u32,
    pub first_kv_head: u32,
    pub kv_heads: u32,
    /// `None`: the whole context, and the result is the output.
    pub part: Option<Part>,
}

/// One stretch of an item's context, whose result waits for the others.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub stretch: u32,
    /// Where its result lies in `Plan::partials`.
    pub offset: usize,
}

/// An item that was cut: its parts lie one after another from `offset`.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    pub item: Item,
    pub parts: usize,
    pub offset: usize,
}

/// Kept between calls, so that none allocates.
#[derive(Default)]
pub struct Plan {
    pub items: Vec<Item>,
    pub splits: Vec<Split>,
    /// Results of parts, each `[kv heads, rows, group]` of maximum, sum and `head_dim` sums.
    pub partials: Vec<f32>,
}

impl Item {
    pub fn rows(&self) -> Range<usize> {
        self.first_row as usize..(self.first_row + self.rows) as usize
    }

    pub fn kv_heads(&self) -> Range<usize> {
        self.first_kv_head as usize..(self.first_kv_head + self.kv_heads) as usize
    }

    pub fn queries(&self, group: usize) -> usize {
        (self.rows * self.kv_heads) as usize * group
    }
}

impl Plan {
    /// Few rows take several kv heads together, so that a token's keys, which lie side by side, are read
    /// in one go; as many as leave each thread some items. Where even single heads leave threads without
    /// work, long contexts are cut as well.
    pub fn make<KV: PanelElement>(&mut self, args: &Attend<'_, KV>, threads: usize) {
        self.items.clear();
        self.splits.clear();
        self.partials.clear();
        let queries = TILE_QUERIES / args.group();
        let share = args.context_lens.len() * args.kv_heads / (threads * ITEMS_PER_THREAD);
        for (sequence, rows) in args.query_offsets.windows(2).enumerate() {
            for first_row in (rows[0]..rows[1]).step_by(queries.max(1)) {
                let rows = (rows[1] - first_row).min(queries.max(1) as u32);
                let together = (queries / rows as usize).min(share).clamp(1, args.kv_heads);
                for first in (0..args.kv_heads).step_by(together) {
                    self.items.push(Item {
                        sequence: sequence as u32,
                        first_row,
                        rows,
                        first_kv_head: first as u32,
                        kv_heads: together.min(args.kv_heads - first) as u32,
                        part: None,
                    });
                }
            }
        }
        if threads > 1 && self.items.len() < threads * ITEMS_PER_THREAD {
            self.cut(args);
        }
    }

    /// Cuts every item whose context is longer than a stretch.
    fn cut<KV: PanelElement>(&mut self, args: &Attend<'_, KV>) {
        let mut offset = 0;
        for index in 0..self.items.len() {
            let item = self.items[index];
            let stretches = stretches(args, item);
            if stretches.len() < 2 {
                continue;
            }
            self.splits.push(Split {
                item,
                parts: stretches.len(),
                offset,
            });
            for (i, stretch) in stretches.enumerate() {
                let part = Item {
                    part: Some(Part {
                        stretch: stretch as u32,
                        offset,
                    }),
                    ..item
                };
                if i == 0 {
                    self.items[index] = part;
                } else {
                    self.items.push(part);
                }
                offset += item.queries(args.group()) * partial_len(args.head_dim);
            }
        }
        self.partials.resize(offset, 0.0);
    }
}

/// Elements of one query's partial result.
pub fn partial_len(head_dim: usize) -> usize {
    2 + head_dim
}

/// Positions of an item's first row, and the end of what its last row sees.
pub fn positions<KV: PanelElement>(args: &Attend<'_, KV>, item: Item) -> Range<usize> {
    let sequence = item.sequence as usize;
    let rows_after = args.query_offsets[sequence + 1] as usize - item.first_row as usize;
    let first = args.context_lens[sequence] as usize - rows_after;
    first..first + item.rows as usize
}

/// The stretches that some row of the item sees.
pub fn stretches<KV: PanelElement>(args: &Attend<'_, KV>, item: Item) -> Range<usize> {
    let positions = positions(args, item);
    args.first_seen(positions.start) / STRETCH..positions.end.div_ceil(STRETCH)
}
