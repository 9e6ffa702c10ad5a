//! What attention reads and multiplies: of caches by head, by window and chunk, and of latents.

use super::limits::{Limits, Unit};
use super::shapes::{Layer, Shapes};
use crate::ground::recorder::Cost;
use crate::ops::Rows;
use crate::shape::Kv;

/// Two FLOPs a multiply-add.
const FMA: u64 = 2;

/// Of the sequences of one phase: those that run, one query each, or those whose prompts are computed.
#[derive(Debug, Clone, Copy, Default)]
struct Phase {
    queries: usize,
    /// Cached ones that are seen, each once.
    tokens: u64,
    /// Of a query and a token that it sees.
    pairs: u64,
}

impl Phase {
    fn new(rows: &Rows, kv: Kv, running: bool) -> Self {
        let mut phase = Self::default();
        for s in 0..rows.sequences() {
            let own = rows.query(s).len();
            if (own == 1) == running {
                let (tokens, pairs) = seen(rows, kv, s);
                phase.tokens += tokens;
                phase.pairs += pairs;
                phase.queries += own;
            }
        }
        phase
    }
}

/// Tokens that sequence `s` sees, each once, and pairs of a query and one of them.
fn seen(rows: &Rows, kv: Kv, s: usize) -> (u64, u64) {
    let Kv::Chunked { chunk, .. } = kv else {
        let window = kv.window();
        return (
            rows.attended_tokens_of(s, window),
            rows.attended_pairs_of(s, window),
        );
    };
    let (context, own) = (rows.context_lens[s] as u64, rows.query(s).len() as u64);
    let (chunk, first) = (chunk as u64, context - own);
    let pairs = (first..context).map(|position| position % chunk + 1);
    (context - first / chunk * chunk, pairs.sum())
}

/// One rank's attention of a layer.
pub struct Attention<'a> {
    pub shapes: &'a Shapes,
    pub layer: &'a Layer,
    /// Bytes of an element in the cache.
    pub kv_element: usize,
    pub limits: &'a Limits,
}

impl Attention<'_> {
    /// What a phase costs, and the seconds that it keeps the card busy.
    pub fn of(&self, rows: &Rows, running: bool) -> (Cost, f64) {
        let phase = Phase::new(rows, self.layer.kv, running);
        let heads = self.shapes.rank.num_heads;
        let [keys, values] = self.widths(running);
        let cached = phase.tokens * (self.layer.kv_width * self.kv_element) as u64;
        let cost = Cost {
            bytes: cached + (phase.queries * (keys + values) * self.shapes.element) as u64,
            flops: FMA * phase.pairs * (keys + values) as u64,
        };
        let busy = match (running, self.layer.kv) {
            (true, Kv::Latent { .. }) => {
                let filled = heads.next_multiple_of(self.limits.tile_rows());
                let flops = cost.flops * filled as u64 / heads.max(1) as u64;
                self.limits.busy(Cost { flops, ..cost }, Unit::Latents)
            }
            (true, _) => self.limits.busy(cost, Unit::Decode),
            (false, _) => self.limits.busy(cost, Unit::Prefill),
        };
        (cost, busy)
    }

    /// Of a query's products with K and with V, all heads together.
    fn widths(&self, running: bool) -> [usize; 2] {
        let q_width = self.layer.q_width;
        match (self.layer.kv, running) {
            // With the latents as they lie there.
            (Kv::Latent { width, rotary }, true) => {
                [width, width - rotary].map(|width| self.shapes.rank.num_heads * width)
            }
            (Kv::Latent { .. }, false) => [q_width, self.layer.o.inputs],
            _ => [q_width; 2],
        }
    }

    /// Tokens whose K and V are made of latents in a step: those that prompts see, and as much work for each that runs,
    /// whose query and sum go through the same matrix.
    pub fn unpacked(&self, rows: &Rows) -> usize {
        let [running, prompts] =
            [true, false].map(|running| Phase::new(rows, self.layer.kv, running));
        running.queries + prompts.tokens as usize
    }
}
