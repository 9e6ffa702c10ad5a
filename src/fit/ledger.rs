//! The memory of one rank, term by term, of each pipeline stage.

use std::ops::Range;

use super::ask::{Ask, Engine, GIB};
use super::quantised;
use super::terms::{Settings, Stage, Terms};
use super::{candlepower, vllm};
use crate::parallel::ShardPlan;
use crate::shape::Role;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ledger {
    pub stage: usize,
    pub layers: Range<usize>,
    pub terms: Terms,
    pub memory: u64,
    pub budget: u64,
    pub kv_bytes_per_token: u64,
    /// What the budget leaves for the KV cache; negative: nothing, and so much too little.
    pub kv_bytes: i64,
    /// Whole blocks in it that requests can use.
    pub blocks: u64,
}

impl Ledger {
    fn new(index: usize, stage: &Stage) -> Self {
        let ask = stage.ask;
        let terms = match ask.engine {
            Engine::Candlepower => candlepower::terms(stage),
            Engine::Vllm(release) => vllm::terms(release, stage),
        };
        let memory = (ask.card.memory_gib * GIB).round() as u64;
        let budget = (memory as f64 * stage.settings.utilization) as u64;
        let layers = &ask.shape.layers[stage.layers.clone()];
        let elements = layers.iter().map(|l| l.kv.elements_per_token(ask.split.tp));
        let kv_bytes_per_token = (elements.sum::<usize>() * ask.kv_bytes()) as u64;
        let graphs = match terms.graphs_in_budget {
            true => terms.graphs.bytes,
            false => 0,
        };
        let taken = [&terms.weights, &terms.activations, &terms.overhead];
        let taken: u64 = taken.iter().map(|item| item.bytes).sum::<u64>() + graphs;
        let kv_bytes = budget as i64 - taken as i64;
        let of_block = (kv_bytes_per_token * ask.block_size as u64).max(1);
        let blocks = kv_bytes.max(0) as u64 / of_block;
        let null_blocks = match ask.engine {
            // Block 0 is for rows of padding.
            Engine::Candlepower => 1,
            Engine::Vllm(_) => 0,
        };
        Self {
            stage: index,
            layers: stage.layers.clone(),
            terms,
            memory,
            budget,
            kv_bytes_per_token,
            kv_bytes,
            blocks: blocks.saturating_sub(null_blocks),
        }
    }
}

/// The ledger of the stage whose KV cache is the smallest: every stage has as many blocks as it.
pub(super) fn tightest(ask: &Ask, plan: &ShardPlan, settings: Settings) -> Ledger {
    let stages = stages(ask.shape.layers.len(), ask.pp);
    let weights = weights(ask, plan, &stages);
    let ledger = |index: usize| {
        let stage = Stage {
            ask,
            plan,
            settings,
            layers: stages[index].clone(),
            last: index + 1 == stages.len(),
            weights: weights[index],
        };
        Ledger::new(index, &stage)
    };
    let scarcer = |a: Ledger, b: Ledger| match (b.blocks, b.kv_bytes) < (a.blocks, a.kv_bytes) {
        true => b,
        false => a,
    };
    (1..stages.len()).map(ledger).fold(ledger(0), scarcer)
}

/// Layers of each stage. Those over an even share go to the stages before the last, which has the head to
/// hold, as vLLM's `get_pp_indices` gives them out.
pub(super) fn stages(layers: usize, pp: usize) -> Vec<Range<usize>> {
    let (each, over) = (layers / pp, layers % pp);
    let mut start = 0;
    let stages = (0..pp).map(|stage| {
        let extra = stage + 1 < pp && stage + 1 + over >= pp;
        let end = start + each + usize::from(extra);
        std::mem::replace(&mut start, end)..end
    });
    stages.collect()
}

/// Bytes of the weights of rank 0 of each stage: the first has the embedding, the last the final norm and
/// the head, which is the embedding again where they are tied.
fn weights(ask: &Ask, plan: &ShardPlan, stages: &[Range<usize>]) -> Vec<u64> {
    let mut bytes = vec![0; stages.len()];
    let last = stages.len() - 1;
    for part in plan.tensors() {
        let tensor = part.tensor;
        let held = quantised::laid_out(ask, tensor, ask.bytes(tensor, part.elements(0)));
        let stage = match tensor.layer {
            Some(layer) => stages.partition_point(|layers| layers.end <= layer),
            None if tensor.role == Role::Embedding => 0,
            None => last,
        };
        bytes[stage] += held;
        if tensor.role == Role::Embedding && ask.shape.tie_word_embeddings && last > 0 {
            bytes[last] += held;
        }
    }
    bytes
}
