//! Causal attention over a paged cache, in one pass with a running maximum and sum.
//!
//! Work is split over (sequence, query tile, kv heads); the query heads of a group share one reading
//! of each key and value. Positions are taken 16 at a time, from multiples of 16, in order: the
//! order of a row's sums depends on its own position only, never on the block size, the chunk it
//! came in, or the rest of the batch.

use std::cell::RefCell;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::kernel_avx2::Avx2;
use super::kernel_portable::Portable;
use super::panel::PanelElement;
use super::shared::SharedOut;
use super::workers;

/// Positions taken at a time.
pub const TILE_POSITIONS: usize = 16;
/// Lanes in which a dot product is summed.
pub(super) const LANES: usize = 8;
/// Query rows times heads of a group in one work item: their q and sums stay in L2, and few enough
/// that a prefill chunk is many items.
const TILE_QUERIES: usize = 64;
/// Items that a thread is left, so that uneven ones even out.
const ITEMS_PER_THREAD: usize = 2;
/// Multiply-adds below which waking other threads costs more than it saves.
const MIN_PARALLEL: usize = 1 << 17;

/// The running state of one query's softmax.
#[derive(Debug, Clone, Copy)]
pub struct Softmax {
    /// Highest score yet.
    pub max: f32,
    /// Sum of `exp(score - max)` over the positions yet.
    pub sum: f32,
    /// What the last tile multiplied older sums by.
    pub rescale: f32,
}

impl Softmax {
    const START: Self = Self {
        max: f32::NEG_INFINITY,
        sum: 0.0,
        rescale: 1.0,
    };
}

/// What an instruction set supplies. A value of the type proves that the host has it.
pub trait AttentionKernel: Copy + Send + Sync {
    /// `tile[j] = cache[starts[j]..][..head_dim]`, widened; `tile` is `[starts.len(), head_dim]`.
    ///
    /// `next` is read after that: a kernel may ask memory for it now, for blocks lie anywhere and the
    /// hardware cannot guess.
    fn gather<KV: PanelElement>(
        self,
        cache: &[KV],
        starts: &[usize],
        next: &[usize],
        head_dim: usize,
        tile: &mut [f32],
    );

    /// `scores[r][j] = q[r] · k[j]`; `q` is `[scores.len(), head_dim]`, `k` `[16, head_dim]`.
    fn scores(self, q: &[f32], k: &[f32], head_dim: usize, scores: &mut [[f32; TILE_POSITIONS]]);

    /// Scores become `exp(score - max)`, taken into the states. A score of -inf is left out.
    fn softmax(self, scores: &mut [[f32; TILE_POSITIONS]], states: &mut [Softmax]);

    /// `sums[r] = sums[r] * rescale[r] + Σ_j weights[r][j] * v[j]`, in order of j, over the rows of
    /// `v`, at most 16.
    fn weigh(
        self,
        weights: &[[f32; TILE_POSITIONS]],
        states: &[Softmax],
        v: &[f32],
        head_dim: usize,
        sums: &mut [f32],
    );
}

/// Attention of one layer over the rows of a step.
#[derive(Debug, Clone, Copy)]
pub struct Attend<'a, KV> {
    /// `[rows, heads, head_dim]`, rows `q_stride` apart.
    pub q: &'a [f32],
    pub q_stride: usize,
    /// `[num_blocks, block_size, kv_heads, head_dim]` each.
    pub k: &'a [KV],
    pub v: &'a [KV],
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub block_size: usize,
    /// `[sequences + 1]`: sequence `s` owns rows `query_offsets[s]..query_offsets[s + 1]`.
    pub query_offsets: &'a [u32],
    /// `[sequences]`: tokens in the cache, those of this step included.
    pub context_lens: &'a [u32],
    /// `[sequences, table_stride]`.
    pub block_tables: &'a [u32],
    pub table_stride: usize,
    /// A row sees itself and the `window - 1` positions before it (at least itself); `None`: all before it.
    pub window: Option<usize>,
    pub scale: f32,
    /// Distance of output rows, at least `heads * head_dim`.
    pub out_stride: usize,
}

/// Some query rows of one sequence, for some kv heads: what one thread does at a time.
#[derive(Debug, Clone, Copy)]
struct Item {
    sequence: u32,
    /// Among all rows.
    first_row: u32,
    rows: u32,
    first_kv_head: u32,
    kv_heads: u32,
}

/// What a thread needs for one item; kept between calls.
#[derive(Default)]
struct Scratch {
    /// Scaled queries and their weighted sums, `[kv heads, rows, group, head_dim]` each.
    q: Vec<f32>,
    sums: Vec<f32>,
    /// Keys and values of a tile, widened, `[TILE_POSITIONS, head_dim]` each.
    k: Vec<f32>,
    v: Vec<f32>,
    scores: Vec<[f32; TILE_POSITIONS]>,
    states: Vec<Softmax>,
}

impl Scratch {
    /// Ready for the first tile of `queries` queries in all.
    fn start(&mut self, queries: usize, head_dim: usize) {
        self.sums.clear();
        self.sums.resize(queries * head_dim, 0.0);
        self.states.clear();
        self.states.resize(queries, Softmax::START);
        self.k.resize(TILE_POSITIONS * head_dim, 0.0);
        self.v.resize(TILE_POSITIONS * head_dim, 0.0);
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static ITEMS: RefCell<Vec<Item>> = const { RefCell::new(Vec::new()) };
}

impl<KV: PanelElement> Attend<'_, KV> {
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Multiply-adds of this call, at least roughly.
    fn work(&self) -> usize {
        let rows = self.query_offsets.windows(2).zip(self.context_lens);
        let pairs: usize = rows
            .map(|(rows, &context)| (rows[1] - rows[0]) as usize * context as usize)
            .sum();
        2 * pairs * self.heads * self.head_dim
    }

    /// The positions that the query at `position` sees.
    fn seen(&self, position: usize) -> Range<usize> {
        let first = self
            .window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        first..position + 1
    }

    /// Where kv head `kv_head` of the first tile of `positions` lies in the cache.
    fn find(
        &self,
        table: &[u32],
        positions: Range<usize>,
        kv_head: usize,
    ) -> [usize; TILE_POSITIONS] {
        let blocks = self.k.len() / (self.block_size * self.kv_heads * self.head_dim);
        let mut starts = [0; TILE_POSITIONS];
        let mut entry = positions.start / self.block_size;
        let mut offset = positions.start % self.block_size;
        for (start, _) in starts.iter_mut().zip(positions) {
            let block = table[entry] as usize;
            assert!(block < blocks, "block {block} of a cache of {blocks}");
            let slot = block * self.block_size + offset;
            *start = (slot * self.kv_heads + kv_head) * self.head_dim;
            offset += 1;
            if offset == self.block_size {
                (entry, offset) = (entry + 1, 0);
            }
        }
        starts
    }

    fn check(&self, out: &[f32]) {
        let rows = self.query_offsets.last().map_or(0, |&rows| rows as usize);
        let width = self.heads * self.head_dim;
        let extent = |stride: usize| rows.checked_sub(1).map_or(0, |last| last * stride + width);
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "heads"
        );
        assert!(
            self.head_dim > 0 && self.block_size > 0 && self.window != Some(0),
            "shape"
        );
        assert!(self.k.len() == self.v.len(), "cache");
        assert!(
            self.query_offsets.len() == self.context_lens.len() + 1,
            "query offsets"
        );
        assert!(
            self.block_tables.len() >= self.context_lens.len() * self.table_stride,
            "tables"
        );
        assert!(
            self.q_stride >= width && self.q.len() >= extent(self.q_stride),
            "queries"
        );
        assert!(
            self.out_stride >= width && out.len() >= extent(self.out_stride),
            "output"
        );
        for (rows, &context) in self.query_offsets.windows(2).zip(self.context_lens) {
            assert!(
                rows[0] <= rows[1] && rows[1] - rows[0] <= context,
                "context length"
            );
        }
    }
}

/// `out[r] = softmax(scale * q[r] Kᵀ) V` of each row and head, over the positions that row sees,
/// with the best kernel of this host, on the current `workers`.
///
/// # Panics
/// If a slice is shorter than its shape says, a context is shorter than its rows, or a block table
/// names a block past the cache.
#[cfg(target_arch = "x86_64")]
pub fn attend<KV: PanelElement>(args: &Attend<'_, KV>, out: &mut [f32]) {
    match Avx2::detect() {
        Some(kernel) => attend_with(kernel, args, out),
        None => attend_with(Portable, args, out),
    }
}

/// As above: no other instruction set has kernels of its own yet.
///
/// # Panics
/// As above.
#[cfg(not(target_arch = "x86_64"))]
pub fn attend<KV: PanelElement>(args: &Attend<'_, KV>, out: &mut [f32]) {
    attend_with(Portable, args, out);
}

/// [`attend`] with a given kernel.
///
/// # Panics
/// As [`attend`].
pub fn attend_with<A: AttentionKernel, KV: PanelElement>(
    kernel: A,
    args: &Attend<'_, KV>,
    out: &mut [f32],
) {
    args.check(out);
    // Taken, not borrowed: a thread that waits for others may run another call of this function.
    let mut items = ITEMS.take();
    items.clear();
    plan(args, workers::threads(), &mut items);
    let out = SharedOut::new(out);
    let run = |item: &Item| {
        let mut scratch = SCRATCH.take();
        // SAFETY: `out` covers all rows by `check`, and items are disjoint in rows or heads.
        unsafe { attend_item(kernel, args, *item, &mut scratch, out) };
        SCRATCH.set(scratch);
    };
    if args.work() < MIN_PARALLEL {
        items.iter().for_each(run);
    } else {
        workers::each_when_free(items.len(), |i| run(&items[i]));
    }
    ITEMS.set(items);
}

/// Few rows take several kv heads together, so that a token's keys, which lie side by side, are read
/// in one go; as many as leave each thread some items.
fn plan<KV: PanelElement>(args: &Attend<'_, KV>, threads: usize, items: &mut Vec<Item>) {
    let queries = TILE_QUERIES / args.group();
    let share = args.context_lens.len() * args.kv_heads / (threads * ITEMS_PER_THREAD);
    for (sequence, rows) in args.query_offsets.windows(2).enumerate() {
        for first_row in (rows[0]..rows[1]).step_by(queries.max(1)) {
            let rows = (rows[1] - first_row).min(queries.max(1) as u32);
            let together = (queries / rows as usize).min(share).clamp(1, args.kv_heads);
            for first in (0..args.kv_heads).step_by(together) {
                items.push(Item {
                    sequence: sequence as u32,
                    first_row,
                    rows,
                    first_kv_head: first as u32,
                    kv_heads: together.min(args.kv_heads - first) as u32,
                });
            }
        }
    }
}

/// # Safety
/// `out` holds all rows of `args`; nobody else touches this item's rows and heads.
unsafe fn attend_item<A: AttentionKernel, KV: PanelElement>(
    kernel: A,
    args: &Attend<'_, KV>,
    item: Item,
    scratch: &mut Scratch,
    out: SharedOut,
) {
    let (sequence, head_dim, group) = (item.sequence as usize, args.head_dim, args.group());
    let rows = item.first_row as usize..(item.first_row + item.rows) as usize;
    let kv_heads = item.first_kv_head as usize..(item.first_kv_head + item.kv_heads) as usize;
    let queries = rows.len() * group;
    scratch.scores.resize(queries, [0.0; TILE_POSITIONS]);
    let columns = |kv_head: usize| kv_head * group * head_dim..(kv_head + 1) * group * head_dim;

    scratch.q.clear();
    for kv_head in kv_heads.clone() {
        for row in rows.clone() {
            let row = &args.q[row * args.q_stride..][columns(kv_head)];
            scratch.q.extend(row.iter().map(|value| value * args.scale));
        }
    }
    scratch.start(kv_heads.len() * queries, head_dim);
    let Scratch {
        q,
        sums,
        k,
        v,
        scores,
        states,
    } = scratch;

    // Row i of the item sees positions up to its own, `first_position + i`.
    let rows_after = args.query_offsets[sequence + 1] as usize - rows.start;
    let first_position = args.context_lens[sequence] as usize - rows_after;
    let end = first_position + rows.len();
    let table = &args.block_tables[sequence * args.table_stride..][..args.table_stride];
    let first_tile = args.seen(first_position).start / TILE_POSITIONS * TILE_POSITIONS;
    let find = |tile: usize| args.find(table, tile..end, kv_heads.start);
    let filled = |tile: usize| end.saturating_sub(tile).min(TILE_POSITIONS);
    let mut next = find(first_tile);
    for tile in (first_tile..end).step_by(TILE_POSITIONS) {
        let after = tile + TILE_POSITIONS;
        let current = std::mem::replace(&mut next, find(after));
        let (starts, next) = (&current[..filled(tile)], &next[..filled(after)]);
        let filled = starts.len() * head_dim;
        let heads = q.chunks_exact(queries * head_dim);
        let heads = heads.zip(sums.chunks_exact_mut(queries * head_dim));
        let heads = heads.zip(states.chunks_exact_mut(queries));
        for (head, ((q, sums), states)) in heads.enumerate() {
            let start = head * head_dim;
            kernel.gather(&args.k[start..], starts, next, head_dim, &mut k[..filled]);
            kernel.gather(&args.v[start..], starts, next, head_dim, &mut v[..filled]);
            // Keys past the end are what an earlier tile left; their scores are masked.
            kernel.scores(q, k, head_dim, scores);
            for (i, scores) in scores.chunks_exact_mut(group).enumerate() {
                mask(scores, tile, args.seen(first_position + i));
            }
            kernel.softmax(scores, states);
            kernel.weigh(scores, states, &v[..filled], head_dim, sums);
        }
    }

    let mut results = sums.chunks_exact(head_dim).zip(states);
    for kv_head in kv_heads {
        let columns = columns(kv_head);
        for row in rows.clone() {
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

/// Leaves out what lies outside `seen`, of the positions from `tile`.
fn mask(scores: &mut [[f32; TILE_POSITIONS]], tile: usize, seen: Range<usize>) {
    if seen.start <= tile && tile + TILE_POSITIONS <= seen.end {
        return;
    }
    for scores in scores {
        for (j, score) in scores.iter_mut().enumerate() {
            if !seen.contains(&(tile + j)) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}
