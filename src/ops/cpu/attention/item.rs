//! One item of attention: its queries against its context, span after span.

use std::ops::Range;

use super::super::attention_kernel::{
    AttentionKernel, SPAN, Scores, Softmax, TILE_POSITIONS, higher, shift,
};
use super::super::kernel_portable::weight;
use super::super::packing::pairs;
use super::super::panel::{PAIR, PanelElement};
use super::super::shared::SharedOut;
use super::Attend;
use super::plan::{Item, STRETCH, Split, partial_len, positions, stretches};

/// What a thread needs for one item; kept between calls.
#[derive(Default)]
pub struct Scratch {
    /// Scaled queries, `[kv heads, rows, group, head_dim]`, or half as many words of pairs.
    q: Vec<f32>,
    /// The current stretch, and those before it.
    stretch: Running,
    total: Running,
    /// Values of a tile, widened, `[TILE_POSITIONS, head_dim]`, or its keys, `[head_dim, TILE_POSITIONS]`.
    tile: Vec<f32>,
    scores: Vec<Scores>,
}

/// Weighted sums of values, `[queries, head_dim]`, and their softmax.
#[derive(Default)]
struct Running {
    sums: Vec<f32>,
    states: Vec<Softmax>,
}

impl Running {
    fn start(&mut self, queries: usize, head_dim: usize) {
        self.sums.clear();
        self.sums.resize(queries * head_dim, 0.0);
        self.states.clear();
        self.states.resize(queries, Softmax::START);
    }

    /// Takes in later positions of query `i`: their highest score, sum of weights and weighted sums.
    /// A side that has seen nothing changes not a bit of the other.
    fn take(&mut self, i: usize, max: f32, sum: f32, sums: &[f32]) {
        let state = &mut self.states[i];
        let highest = higher(state.max, max);
        let shift = shift(highest);
        let (before, after) = (weight(state.max - shift), weight(max - shift));
        state.max = highest;
        state.sum = state.sum * before + sum * after;
        let total = &mut self.sums[i * sums.len()..][..sums.len()];
        for (total, sum) in total.iter_mut().zip(sums) {
            *total = *total * before + sum * after;
        }
    }
}

/// # Safety
/// `out` holds all rows of `args`, `partials` all parts; nobody else touches this item's.
pub unsafe fn attend_item<A: AttentionKernel, KV: PanelElement>(
    kernel: A,
    args: &Attend<'_, KV>,
    item: Item,
    scratch: &mut Scratch,
    out: SharedOut,
    partials: SharedOut,
) {
    let head_dim = args.head_dim;
    let queries = item.queries(args.group());
    scratch.load::<A, KV>(args, item);
    if let Some(part) = item.part {
        scratch.stretch(kernel, args, item, part.stretch as usize);
        let width = partial_len(head_dim);
        let results = scratch.stretch.sums.chunks_exact(head_dim);
        for (i, (sums, state)) in results.zip(&scratch.stretch.states).enumerate() {
            // SAFETY: within this part, by the caller.
            let partial = unsafe { partials.slice(part.offset + i * width, width) };
            (partial[0], partial[1]) = (state.max, state.sum);
            partial[2..].copy_from_slice(sums);
        }
        return;
    }
    let all = stretches(args, item);
    let only_one = all.len() == 1;
    if !only_one {
        scratch.total.start(queries, head_dim);
    }
    for stretch in all {
        scratch.stretch(kernel, args, item, stretch);
        if !only_one {
            let Scratch { stretch, total, .. } = scratch;
            let results = stretch.sums.chunks_exact(head_dim).zip(&stretch.states);
            for (i, (sums, state)) in results.enumerate() {
                total.take(i, state.max, state.sum, sums);
            }
        }
    }
    let result = match only_one {
        true => &scratch.stretch,
        false => &scratch.total,
    };
    // SAFETY: the caller's own conditions.
    unsafe { store(args, item, result, out) };
}

/// Joins the parts of an item in the order of their stretches.
///
/// # Safety
/// `out` holds all rows of `args`, `partials` all parts of `split`; nobody else touches them.
pub unsafe fn join<KV: PanelElement>(
    args: &Attend<'_, KV>,
    split: Split,
    scratch: &mut Scratch,
    out: SharedOut,
    partials: SharedOut,
) {
    let queries = split.item.queries(args.group());
    let width = partial_len(args.head_dim);
    let total = &mut scratch.total;
    total.start(queries, args.head_dim);
    for part in 0..split.parts {
        for i in 0..queries {
            // SAFETY: within the parts, by the caller.
            let partial =
                unsafe { partials.slice(split.offset + (part * queries + i) * width, width) };
            total.take(i, partial[0], partial[1], &partial[2..]);
        }
    }
    // SAFETY: the caller's own conditions.
    unsafe { store(args, split.item, total, out) };
}

impl Scratch {
    /// The item's queries, scaled.
    fn load<A: AttentionKernel, KV: PanelElement>(&mut self, args: &Attend<'_, KV>, item: Item) {
        self.q.clear();
        for kv_head in item.kv_heads() {
            for row in item.rows() {
                let row = &args.q[row * args.q_stride..][columns(args, kv_head)];
                let scaled = row.iter().map(|value| value * args.scale);
                match A::PAIRS {
                    false => self.q.extend(scaled),
                    true => pairs(scaled, &mut self.q),
                }
            }
        }
        self.tile.resize(TILE_POSITIONS * args.head_dim, 0.0);
        let queries = item.rows as usize * args.group();
        self.scores.resize(queries, [0.0; SPAN]);
    }

    /// The item's queries against one stretch, from nothing.
    fn stretch<A: AttentionKernel, KV: PanelElement>(
        &mut self,
        kernel: A,
        args: &Attend<'_, KV>,
        item: Item,
        stretch: usize,
    ) {
        let head_dim = args.head_dim;
        self.stretch.start(item.queries(args.group()), head_dim);
        let Range { start, end } = positions(args, item);
        let first = args.first_seen(start).max(stretch * STRETCH) / SPAN * SPAN;
        let end = end.min((stretch + 1) * STRETCH);
        let table = &args.block_tables[item.sequence as usize * args.table_stride..];
        let table = &table[..args.table_stride];
        let mut tiles = Tiles::default();
        for span in (first..end).step_by(SPAN) {
            let found = |i: usize| {
                let start = span + i * TILE_POSITIONS;
                args.find(table, start..end, item.kv_heads().start)
            };
            tiles.count = (end - span).min(SPAN).div_ceil(TILE_POSITIONS);
            tiles.starts = std::array::from_fn(found);
            tiles.end = end - span;
            self.span(kernel, args, item, span, &tiles);
        }
    }

    /// The item's queries against the span from `span`, whose tiles are `tiles`.
    fn span<A: AttentionKernel, KV: PanelElement>(
        &mut self,
        kernel: A,
        args: &Attend<'_, KV>,
        item: Item,
        span: usize,
        tiles: &Tiles,
    ) {
        let (head_dim, group) = (args.head_dim, args.group());
        let first_position = positions(args, item).start;
        let queries = item.rows as usize * group;
        let together = if A::PAIRS { PAIR } else { 1 };
        let Scratch {
            q,
            stretch,
            tile,
            scores,
            ..
        } = self;
        let heads = q.chunks_exact(queries * head_dim / together);
        let heads = heads.zip(stretch.sums.chunks_exact_mut(queries * head_dim));
        let heads = heads.zip(stretch.states.chunks_exact_mut(queries));
        for (head, ((q, sums), states)) in heads.enumerate() {
            let (k, v) = (&args.k[head * head_dim..], &args.v[head * head_dim..]);
            for i in 0..tiles.count {
                let (found, next) = (tiles.get(i), tiles.get(i + 1));
                kernel.gather_keys(k, found, next, head_dim, tile);
                // Keys past the end are others once more; their scores are masked.
                kernel.scores(q, tile, head_dim, i * TILE_POSITIONS, scores);
            }
            let filled = tiles.count * TILE_POSITIONS;
            for (i, scores) in scores.chunks_exact_mut(group).enumerate() {
                mask(scores, span..span + filled, args.seen(first_position + i));
            }
            kernel.softmax(scores, filled, states);
            for i in 0..tiles.count {
                let (found, next) = (tiles.get(i), tiles.get(i + 1));
                let tile = &mut tile[..found.len().div_ceil(together) * head_dim];
                kernel.gather(v, found, next, head_dim, tile);
                kernel.weigh(scores, i * TILE_POSITIONS, states, tile, head_dim, sums);
            }
        }
    }
}

/// Where the tiles of a span lie in the cache, and the first one after it, which memory is asked for early.
#[derive(Default)]
struct Tiles {
    starts: [[usize; TILE_POSITIONS]; SPAN / TILE_POSITIONS + 1],
    /// Tiles of the span itself.
    count: usize,
    /// Positions from the span's first to the end of what is read.
    end: usize,
}

impl Tiles {
    fn get(&self, i: usize) -> &[usize] {
        let filled = self.end.saturating_sub(i * TILE_POSITIONS);
        &self.starts[i][..filled.min(TILE_POSITIONS)]
    }
}

/// Columns of the query heads that share `kv_head`.
fn columns<KV>(args: &Attend<'_, KV>, kv_head: usize) -> Range<usize> {
    let width = args.heads / args.kv_heads * args.head_dim;
    kv_head * width..(kv_head + 1) * width
}

/// Writes an item's results, divided by their sums of weights.
///
/// # Safety
/// `out` holds all rows of `args`; nobody else touches this item's rows and heads.
unsafe fn store<KV: PanelElement>(
    args: &Attend<'_, KV>,
    item: Item,
    result: &Running,
    out: SharedOut,
) {
    let head_dim = args.head_dim;
    let mut results = result.sums.chunks_exact(head_dim).zip(&result.states);
    for kv_head in item.kv_heads() {
        let columns = columns(args, kv_head);
        for row in item.rows() {
            // SAFETY: within `out`, and this item's alone, by the caller.
            let out = unsafe { out.slice(row * args.out_stride + columns.start, columns.len()) };
            for (out, (sums, state)) in out.chunks_exact_mut(head_dim).zip(&mut results) {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = sum / state.sum;
                }
            }
        }
    }
}

/// Leaves out what lies outside `seen`, of `positions`.
fn mask(scores: &mut [Scores], positions: Range<usize>, seen: Range<usize>) {
    if seen.start <= positions.start && positions.end <= seen.end {
        return;
    }
    for scores in scores {
        for (score, position) in scores.iter_mut().zip(positions.clone()) {
            if !seen.contains(&position) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}
