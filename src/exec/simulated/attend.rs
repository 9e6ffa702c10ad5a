//! What attention reads and multiplies: of caches by head, by window and chunk, and of latents.

use super::calibration::FMA;
use super::limits::{Limits, Unit};
use super::shapes::{Layer, Shapes};
use crate::ground::recorder::Cost;
use crate::ops::Rows;
use crate::shape::Kv;

/// Of the sequences of one phase: those that run, one query each, or those whose prompts are computed.
#[derive(Debug, Clone, Copy, Default)]
struct Phase {
    queries: usize,
    /// Cached ones that are seen, each once.
    tokens: u64,
    /// Of a query and a token that it sees.
    pairs: u64,
}

/// Both of a step, in layers of a kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phases {
    running: Phase,
    prompts: Phase,
}

impl Phases {
    pub fn new(rows: &Rows, kv: Kv) -> Self {
        let mut phases = Self::default();
        for s in 0..rows.sequences() {
            let queries = rows.query(s).len();
            let phase = match queries {
                1 => &mut phases.running,
                _ => &mut phases.prompts,
            };
            let (tokens, pairs) = seen(rows, kv, s);
            phase.tokens += tokens;
            phase.pairs += pairs;
            phase.queries += queries;
        }
        phases
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
    pub phases: Phases,
}

impl Attention<'_> {
    /// What the queries of running requests cost, and the seconds that they keep the card busy.
    pub fn running(&self) -> (Cost, f64) {
        let phase = &self.phases.running;
        let Kv::Latent { width, rotary, .. } = self.layer.kv else {
            let cost = self.cost(phase, [self.layer.q_width, self.layer.o.inputs]);
            return (cost, self.limits.busy(cost, Unit::Decode));
        };
        // With the latents as they lie there.
        let heads = self.shapes.rank.num_heads;
        let cost = self.cost(phase, [width, width - rotary].map(|width| heads * width));
        let filled = heads.next_multiple_of(self.limits.tile_rows());
        let flops = cost.flops * filled as u64 / heads.max(1) as u64;
        let busy = self.limits.busy(Cost { flops, ..cost }, Unit::Latents);
        (cost, busy)
    }

    /// The same of prompts.
    pub fn prompts(&self) -> (Cost, f64) {
        let widths = [self.layer.q_width, self.layer.o.inputs];
        let cost = self.cost(&self.phases.prompts, widths);
        (cost, self.limits.busy(cost, Unit::Prefill))
    }

    /// `widths`: of a query's products with K and with V, all heads together.
    fn cost(&self, phase: &Phase, [keys, values]: [usize; 2]) -> Cost {
        let cached = phase.tokens * (self.layer.kv_width * self.kv_element) as u64;
        Cost {
            bytes: cached + (phase.queries * (keys + values) * self.shapes.element) as u64,
            flops: FMA * phase.pairs * (keys + values) as u64,
        }
    }

    /// Tokens whose K and V are made of latents in a step: those that prompts see, and as much work for each that runs,
    /// whose query and sum go through the same matrix.
    pub fn unpacked(&self) -> usize {
        self.phases.running.queries + self.phases.prompts.tokens as usize
    }
}
