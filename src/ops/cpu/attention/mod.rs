//! Causal attention over a paged cache, in one pass with a running maximum and sum.
//!
//! Work is split over (sequence, query tile, kv heads, stretch of the context); the query heads of a
//! group share one reading of each key and value. Positions are taken in tiles of 16, spans of 64 and
//! stretches of 1,024, from multiples of these, in order; each stretch starts from nothing and joins the
//! ones before it. So the order of a row's sums depends on its own position only, never on the block
//! size, the chunk it came in, the rest of the batch, or the number of threads.

mod item;
mod plan;

use std::cell::RefCell;
use std::ops::Range;

use self::item::{Scratch, attend_item, join};
use self::plan::Plan;
use super::attention_kernel::{AttentionKernel, TILE_POSITIONS};
#[cfg(target_arch = "x86_64")]
use super::kernel_avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::kernel_avx512_bf16::Avx512Bf16;
use super::kernel_portable::Portable;
use super::packing::Activations;
use super::panel::PanelElement;
use super::shared::SharedOut;
use super::workers;

/// Multiply-adds below which waking other threads costs more than it saves.
const MIN_PARALLEL: usize = 1 << 17;

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
    /// Of queries, and of the weights of positions, where they meet a cache of bf16. A hint: a host without pairs
    /// of bf16 leaves them in f32.
    pub activations: Activations,
    /// Distance of output rows, at least `heads * head_dim`.
    pub out_stride: usize,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static PLAN: RefCell<Plan> = RefCell::default();
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

    /// The first position that the query at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window
            .map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// The positions that the query at `position` sees.
    fn seen(&self, position: usize) -> Range<usize> {
        self.first_seen(position)..position + 1
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
        let (mut entry, mut left, mut slot) = (positions.start / self.block_size, 0, 0);
        for (start, position) in starts.iter_mut().zip(positions) {
            if left == 0 {
                let block = table[entry] as usize;
                assert!(block < blocks, "block {block} of a cache of {blocks}");
                let offset = position % self.block_size;
                slot = block * self.block_size + offset;
                (entry, left) = (entry + 1, self.block_size - offset);
            }
            *start = (slot * self.kv_heads + kv_head) * self.head_dim;
            (slot, left) = (slot + 1, left - 1);
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
    if args.activations == Activations::Bf16
        && Avx512Bf16::attends::<KV>(args.head_dim)
        && let Some(kernel) = Avx512Bf16::detect()
    {
        return attend_with(kernel, args, out);
    }
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
    let mut plan = PLAN.take();
    plan.make(args, workers::threads());
    let out = SharedOut::new(out);
    let partials = SharedOut::new(&mut plan.partials);
    let (items, splits) = (&plan.items, &plan.splits);
    let run = |i: usize| {
        let mut scratch = SCRATCH.take();
        // SAFETY: `out` covers all rows by `check`, `partials` all parts by the plan, and items are
        // disjoint in rows, heads or parts.
        unsafe { attend_item(kernel, args, items[i], &mut scratch, out, partials) };
        SCRATCH.set(scratch);
    };
    if args.work() < MIN_PARALLEL {
        (0..items.len()).for_each(run);
    } else {
        workers::each_when_free(items.len(), run);
    }
    for &split in splits {
        let mut scratch = SCRATCH.take();
        // SAFETY: as above; the region that wrote the parts has ended.
        unsafe { join(args, split, &mut scratch, out, partials) };
        SCRATCH.set(scratch);
    }
    PLAN.set(plan);
}
