//! The memory of one rank, term by term, of each pipeline stage.

use std::ops::Range;

use super::ask::{Ask, Engine, GIB};
use super::pool::Pool;
use super::quantised;
use super::releases::Hybrid;
use super::terms::{Settings, Stage, Terms};
use super::{candlepower, llama_cpp, sglang, vllm};
use crate::parallel::ShardPlan;
use crate::shape::{Role, TensorSpec};

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
    /// How they are laid out.
    pub pool: Pool,
    /// Whole blocks in it that requests can use.
    pub blocks: u64,
    /// Tokens that it holds, as the engine counts them.
    pub tokens: u64,
    /// Tokens of the longest request that it holds, and at most the model's positions.
    pub longest: u64,
}

impl Ledger {
    fn new(index: usize, stage: &Stage) -> Self {
        let ask = stage.ask;
        let terms = match ask.engine {
            Engine::Candlepower => candlepower::terms(stage),
            Engine::Vllm(release) => vllm::terms(release, stage),
            Engine::Sglang => sglang::terms(stage),
            Engine::LlamaCpp(own) => llama_cpp::terms(own, stage),
        };
        let memory = (ask.card.memory_gib * GIB).round() as u64;
        let budget = budget(ask, memory, stage.settings);
        let layers = &ask.shape.layers[stage.layers.clone()];
        let draft = ask.extras.draft.as_ref().filter(|_| stage.last);
        let drafts = draft.map_or(&[][..], |draft| &draft.layers);
        let pool = Pool::new(ask, layers, drafts, stage.settings);
        let graphs = match terms.graphs_in_budget {
            true => terms.graphs.bytes,
            false => 0,
        };
        let taken = [&terms.weights, &terms.activations, &terms.overhead];
        let taken: u64 = taken.iter().map(|item| item.bytes).sum::<u64>() + graphs;
        let left = budget as i64 - taken as i64;
        let states = match ask.engine {
            Engine::Sglang if pool.states > 0 => sglang::states(left.max(0) as u64),
            _ => pool.states,
        };
        let kv_bytes = left - states as i64;
        let blocks = match pool.block_bytes() {
            // Nothing is kept by token.
            0 => ask.shape.positions.div_ceil(ask.block_size) as u64,
            bytes => kv_bytes.max(0) as u64 / bytes,
        };
        let null_blocks = match ask.engine {
            // Block 0 is for rows of padding.
            Engine::Candlepower => 1,
            Engine::Vllm(_) | Engine::Sglang | Engine::LlamaCpp(_) => 0,
        };
        let blocks = blocks.saturating_sub(null_blocks);
        let usable = blocks * pool.block_bytes();
        Self {
            stage: index,
            layers: stage.layers.clone(),
            terms,
            memory,
            budget,
            kv_bytes_per_token: pool.bytes_per_token(),
            kv_bytes,
            tokens: tokens(ask, &pool, blocks, stage.settings),
            longest: pool.longest(usable, ask.shape.positions) as u64,
            blocks,
            pool,
        }
    }

    /// Bytes of the blocks that requests can use.
    pub fn usable(&self) -> u64 {
        self.blocks * self.pool.block_bytes()
    }
}

/// Bytes that the engine gives out.
fn budget(ask: &Ask, memory: u64, settings: Settings) -> u64 {
    let shared = match ask.engine {
        Engine::Candlepower | Engine::Vllm(_) | Engine::LlamaCpp(_) => memory,
        Engine::Sglang => memory.saturating_sub(sglang::before_loading(ask)),
    };
    (shared as f64 * settings.utilization) as u64
}

/// Whole blocks, but where the engine counts requests of the longest length.
fn tokens(ask: &Ask, pool: &Pool, blocks: u64, settings: Settings) -> u64 {
    match ask.engine {
        _ if by_concurrency(ask) || pool.of_requests => {
            let bytes = blocks * pool.block_bytes();
            let length = settings.max_model_len as u64;
            let each = pool.request(settings.max_model_len).max(1);
            (u128::from(bytes) * u128::from(length) / u128::from(each)) as u64
        }
        _ => blocks * ask.block_size as u64,
    }
}

fn by_concurrency(ask: &Ask) -> bool {
    match ask.engine {
        Engine::Vllm(release) => release.hybrid == Hybrid::ByConcurrency,
        // One request has all of it.
        Engine::LlamaCpp(own) => !own.swa_full,
        Engine::Candlepower | Engine::Sglang => false,
    }
}

/// The ledger of the stage whose KV cache is the smallest: every stage has as many blocks as it.
pub(super) fn tightest(ask: &Ask, plan: &ShardPlan, settings: Settings) -> Ledger {
    let layers = ask.shape.layers.len();
    let (stages, head) = match ask.engine {
        Engine::LlamaCpp(own) => own.stages(layers, ask.pp),
        _ => (stages(layers, ask.pp), true),
    };
    let weights = weights(ask, plan, &stages, head);
    let ledger = |index: usize| {
        let stage = Stage {
            ask,
            plan,
            settings,
            layers: stages[index].clone(),
            last: head && index + 1 == stages.len(),
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

/// Whether llama.cpp was told to leave it in the host's memory.
fn in_host(ask: &Ask, tensor: &TensorSpec) -> bool {
    let Engine::LlamaCpp(own) = ask.engine else {
        return false;
    };
    let expert = tensor.expert.is_some() || tensor.count > 1;
    expert && tensor.layer.is_some_and(|layer| layer < own.cpu_moe_layers)
}

/// Bytes of the weights of rank 0 of each stage: the first has the embedding, the last the final norm and
/// the head, which is the embedding again where they are tied. Layers of no stage are in the host's memory.
fn weights(ask: &Ask, plan: &ShardPlan, stages: &[Range<usize>], head: bool) -> Vec<u64> {
    let mut bytes = vec![0; stages.len()];
    let last = stages.len() - 1;
    // llama.cpp looks tokens up on the CPU.
    let in_host_memory = matches!(ask.engine, Engine::LlamaCpp(_));
    for part in plan.tensors() {
        let tensor = part.tensor;
        if in_host(ask, tensor) {
            continue;
        }
        let held = quantised::laid_out(ask, tensor, ask.bytes(tensor, part.elements(0)));
        let embedding = tensor.role == Role::Embedding;
        let stage = match tensor.layer {
            Some(layer) => stages.iter().position(|layers| layers.contains(&layer)),
            None if embedding && !in_host_memory => Some(0),
            None if embedding => None,
            None => head.then_some(last),
        };
        if let Some(stage) = stage {
            bytes[stage] += held;
        }
        let is_head = tensor.shape.last() == Some(&ask.shape.hidden_size);
        if embedding && is_head && ask.shape.tie_word_embeddings && head && stage != Some(last) {
            bytes[last] += held;
        }
    }
    bytes
}
