//! What SGLang takes: a share of the memory that is free before the weights are loaded holds them and the KV cache, and
//! activations, CUDA graphs and the table of requests share the rest (`_profile_available_bytes`, `server_args.py`).

use super::ask::{Ask, GIB};
use super::terms::{Item, Settings, Stage, Terms};

/// Bytes that are taken before anything is loaded: the CUDA context and NCCL. 0.42 to 0.52 GiB: fit2-039, fit2-040,
/// fit2-046.
const BEFORE_LOADING: u64 = 460 << 20;
/// NCCL over NVLink's switches, which is there by then too: 2.01 GiB of eight ranks on H200 (sglang#11716), 2.50 on B200
/// (sglang#5390). From so many ranks on, as with vLLM.
const SWITCHED_NCCL: u64 = 2 << 30;
const SWITCHED_FROM: usize = 4;
/// Over the weights, when they are loaded: 0.05 to 0.13 GiB (fit2-039, fit2-046), 0.28 of four ranks (fit2-036).
const LOADING_GIB: f64 = 0.08;
const LOADING_WITH_PEERS_GIB: f64 = 0.25;

/// Tokens of a chunk, and the largest batch that is captured, with fewer and with more ranks than `FEW_RANKS`, on cards
/// below so many GiB (`server_args.py`).
const BY_MEMORY: [(f64, usize, [usize; 2]); 5] = [
    (20.0, 2048, [8, 8]),
    (35.0, 2048, [24, 80]),
    (60.0, 4096, [32, 160]),
    (90.0, 8192, [256, 512]),
    (160.0, 8192, [256, 512]),
];
const LARGEST: (usize, [usize; 2]) = (16_384, [512, 512]);
const FEW_RANKS: usize = 4;
/// MiB that the default share leaves: metadata, for each token of a chunk, for each captured sequence, for eight ranks.
const METADATA_MIB: f64 = 512.0;
const TOKEN_MIB: f64 = 1.5;
const CAPTURED_MIB: f64 = 2.0;
const EIGHT_RANKS_MIB: f64 = 1024.0;
const LEAST_CHUNK: usize = 2048;
/// Above so many GiB at least so many MiB.
const ROOMY_GIB: f64 = 60.0;
const ROOMY_MIB: f64 = 10_240.0;
/// Recurrent states, to the KV cache (`mamba_full_memory_ratio`).
const STATES_TO_KV: f64 = 0.9;
/// Requests at a time at most.
const MAX_RUNNING_REQUESTS: usize = 4096;

/// Bytes that are taken before anything is loaded, of which the share is none.
pub(super) fn before_loading(ask: &Ask) -> u64 {
    match ask.card.is_switched() && ask.split.tp >= SWITCHED_FROM {
        true => BEFORE_LOADING + SWITCHED_NCCL,
        false => BEFORE_LOADING,
    }
}

pub(super) fn settings(ask: &Ask) -> Settings {
    let limits = ask.limits;
    let (chunk, captured) = by_memory(ask);
    let tokens = limits.max_num_batched_tokens.unwrap_or(chunk);
    Settings {
        max_model_len: limits.max_model_len.unwrap_or(ask.shape.positions),
        utilization: limits
            .utilization
            .unwrap_or_else(|| share(ask, tokens, captured)),
        max_num_seqs: limits.max_num_seqs.unwrap_or(MAX_RUNNING_REQUESTS),
        max_num_batched_tokens: tokens,
    }
}

fn by_memory(ask: &Ask) -> (usize, usize) {
    let row = BY_MEMORY.iter().find(|row| ask.card.memory_gib < row.0);
    let (chunk, captured) = row.map_or(LARGEST, |&(_, chunk, captured)| (chunk, captured));
    (chunk, captured[usize::from(ask.split.tp >= FEW_RANKS)])
}

/// `mem_fraction_static` by default.
fn share(ask: &Ask, chunk: usize, captured: usize) -> f64 {
    let memory = ask.card.memory_gib * 1024.0;
    let left = METADATA_MIB
        + TOKEN_MIB * chunk.max(LEAST_CHUNK) as f64
        + CAPTURED_MIB * captured as f64
        + EIGHT_RANKS_MIB * ask.ranks() as f64 / 8.0;
    let left = match ask.card.memory_gib > ROOMY_GIB {
        true => left.max(ROOMY_MIB),
        false => left,
    };
    // Three digits, as it rounds.
    ((memory - left) / memory * 1000.0).round().max(1.0) / 1000.0
}

pub(super) fn terms(stage: &Stage) -> Terms {
    let loading = match stage.ask.ranks() {
        1 => LOADING_GIB,
        _ => LOADING_WITH_PEERS_GIB,
    };
    let rest = || Item::from_gib(0.0, "out of what the share leaves");
    Terms {
        weights: Item {
            bytes: stage.weights,
            how: format!("{:.2} of the plan", stage.weights as f64 / GIB),
        },
        activations: rest(),
        overhead: Item::from_gib(loading, "what loading takes beside them, as logs show"),
        graphs: rest(),
        while_loading: while_loading(stage),
        graphs_in_budget: false,
        beyond_graphs: 0,
        before_start: 0,
    }
}

/// Bytes that the states of recurrent layers have of what is `left` for them and for the KV cache.
pub(super) fn states(left: u64) -> u64 {
    (left as f64 * STATES_TO_KV / (1.0 + STATES_TO_KV)) as u64
}

/// Layers are made in the activations' type before they are quantised (fit2-052).
fn while_loading(stage: &Stage) -> u64 {
    let element = stage.ask.dtype().bytes() as u64;
    let parts = stage.plan.tensors().filter(|part| {
        let layer = part.tensor.layer;
        layer.is_none_or(|layer| stage.layers.contains(&layer))
    });
    match stage.ask.extras.quantization {
        None => 0,
        Some(_) => parts.map(|part| part.elements(0) * element).sum(),
    }
}
