//! Ranks without engine and scheduler: logits at every position of hand-built steps.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use candlepower::exec::{Executor, KvLayout, Ranks, StepPlan};
use candlepower::model::StepLimits;
use candlepower::ops::Rows;
use candlepower::parallel::Split;

use super::random::Random;
use super::{Backend, Model};

/// Tokens that the prompts of one call may have together.
const ROOM: usize = 512;

/// Tokens `start..end` of one sequence, and the blocks that hold its tokens.
pub struct Chunk<'a> {
    pub start: usize,
    pub end: usize,
    pub table: &'a [u32],
}

/// The rows of one step over `chunks`.
pub fn rows(chunks: &[Chunk], block_size: usize) -> Rows {
    let blocks = |chunk: &Chunk| chunk.end.div_ceil(block_size);
    let max_blocks = chunks.iter().map(blocks).max().unwrap_or(0);
    let mut rows = Rows {
        query_offsets: vec![0],
        max_blocks,
        ..Rows::default()
    };
    for chunk in chunks {
        for position in chunk.start..chunk.end {
            let block = chunk.table[position / block_size] as usize;
            rows.positions.push(position as u32);
            rows.slots
                .push((block * block_size + position % block_size) as u32);
        }
        rows.query_offsets.push(rows.positions.len() as u32);
        rows.context_lens.push(chunk.end as u32);
        let used = blocks(chunk);
        rows.block_tables.extend_from_slice(&chunk.table[..used]);
        rows.block_tables
            .extend(std::iter::repeat_n(0, max_blocks - used));
    }
    rows
}

/// The rows of one step over sequences whose tokens `spans` they are, their blocks shuffled; and how many blocks
/// there are, the null block 0 counted.
pub fn scattered(random: &mut Random, spans: &[Range<usize>], block_size: usize) -> (Rows, usize) {
    let blocks = |span: &Range<usize>| span.end.div_ceil(block_size);
    let total = 1 + spans.iter().map(blocks).sum::<usize>();
    // Shuffled blocks; block 0 is the null block.
    let mut free: Vec<u32> = (1..total as u32).collect();
    for i in (1..free.len()).rev() {
        free.swap(i, random.within(0..i + 1));
    }
    let tables: Vec<Vec<u32>> = spans
        .iter()
        .map(|s| free.split_off(free.len() - blocks(s)))
        .collect();
    let chunks: Vec<Chunk> = spans
        .iter()
        .zip(&tables)
        .map(|(span, table)| Chunk {
            start: span.start,
            end: span.end,
            table,
        })
        .collect();
    (rows(&chunks, block_size), total)
}

pub struct Probe {
    ranks: Ranks,
    block_size: usize,
    num_blocks: usize,
}

impl Probe {
    pub fn new(model: &Model, backend: Backend, kv: DType, block_size: usize) -> Self {
        Self::split(model, backend, kv, block_size, 1)
    }

    /// Over several ranks.
    pub fn split(
        model: &Model,
        backend: Backend,
        kv: DType,
        block_size: usize,
        split: impl Into<Split>,
    ) -> Self {
        Self::around(model.load(backend, split, 2, Self::LIMITS), kv, block_size)
    }

    pub const LIMITS: StepLimits = StepLimits {
        rows: ROOM,
        logit_rows: ROOM,
    };

    pub fn around(mut ranks: Ranks, kv: DType, block_size: usize) -> Self {
        // Every sequence may leave most of its last block empty.
        let num_blocks = 2 * ROOM.div_ceil(block_size) + 1;
        let layout = KvLayout {
            num_blocks,
            block_size,
            dtype: kv,
        };
        ranks.allocate_kv(&layout).unwrap();
        Self {
            ranks,
            block_size,
            num_blocks,
        }
    }

    /// Logits at every position of every prompt, computed side by side: in its step `s`, each prompt takes its next
    /// `chunk(s)` tokens. `[prompt][position * vocab + token]`.
    pub fn logits(
        &mut self,
        prompts: &[Vec<u32>],
        chunk: impl Fn(usize) -> usize,
    ) -> Vec<Vec<f32>> {
        // Tables that interleave and run backwards: an attention that took blocks in order would be found out.
        let table = |prompt: usize| -> Vec<u32> {
            let blocks = (1..self.num_blocks as u32).rev().skip(prompt);
            blocks.step_by(prompts.len()).collect()
        };
        let tables: Vec<Vec<u32>> = (0..prompts.len()).map(table).collect();
        let mut done = vec![0; prompts.len()];
        let mut logits = vec![Vec::new(); prompts.len()];
        let mut step = 0;
        while prompts.iter().zip(&done).any(|(p, &d)| d < p.len()) {
            let live = (0..prompts.len()).filter(|&p| done[p] < prompts[p].len());
            let live: Vec<usize> = live.collect();
            let end = |p: usize| prompts[p].len().min(done[p] + chunk(step));
            let chunks = live.iter().map(|&p| Chunk {
                start: done[p],
                end: end(p),
                table: &tables[p],
            });
            let rows = rows(&chunks.collect::<Vec<_>>(), self.block_size);
            let tokens = live.iter().flat_map(|&p| &prompts[p][done[p]..end(p)]);
            let plan = Arc::new(StepPlan {
                timed: false,
                tokens: tokens.copied().collect(),
                logit_rows: (0..rows.len() as u32).collect(),
                rows,
                picks: Vec::new(),
            });
            let shared = plan.clone();
            let parts = self.ranks.on_all(move |rank| rank.logits(&shared)).unwrap();
            let parts = parts.into_iter().map(Result::unwrap).collect::<Vec<_>>();
            let found = Tensor::cat(&parts, 1).unwrap();
            let found = found.to_vec2::<f32>().unwrap();
            for (s, &p) in live.iter().enumerate() {
                let rows = &found[plan.rows.query(s)];
                logits[p].extend(rows.iter().flatten());
                done[p] += rows.len();
            }
            step += 1;
        }
        logits
    }
}
