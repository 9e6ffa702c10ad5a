//! What vLLM takes: its defaults by card and release, and the memory that its trial run measures.
//!
//! The case ids name rows of `tests/fixtures/calibration/vllm_fit_cases.json`.

use super::ask::{Ask, Card, GIB};
use super::releases::{LargeCards, Release, Sampler, SecondRunner};
use super::terms::{Item, Settings, Stage, Terms};
use crate::shape::Mlp;

/// From here on a card is large (`arg_utils.py`).
const LARGE_GIB: f64 = 70.0;
/// `max_num_batched_tokens` of an API server on large cards and on others.
const LARGE_TOKENS: usize = 8192;
const TOKENS: usize = 2048;
/// `max_num_seqs` on large cards.
const LARGE_SEQS: usize = 1024;
/// The older engine chunks prompts where contexts are longer than this.
const CHUNKED_FROM: usize = 32_768;
/// It takes at least this many tokens a step where it does not.
const LEAST_TOKENS: usize = 2048;

/// Bytes for each logit of the trial run: bf16 and f32 logits, sorted values, their 64-bit indices, the
/// sort's own copies, probabilities. Fitted to fit-08, fit-25 (38.1 to 38.5) and fit-01 (39.2).
const SORT_BYTES: f64 = 38.4;
/// Logits in bf16 and f32, probabilities and exponential noise in f32: counted from `sampler.py`, in no log
/// of the calibration by itself.
const THRESHOLD_BYTES: f64 = 14.0;
/// Logits in bf16 and f32, likewise: the second runner tries neither top-k nor top-p.
const SECOND_RUNNER_BYTES: f64 = 6.0;
/// Rows of hidden size that live beside the MLP: the residual, its input and its output. With the MLP's
/// own three rows it gives fit-03 (2.06 of 2.07 GiB), fit-35 (2.99 of 2.99) and fit-04 (0.05 of 0.06).
const HIDDEN_ROWS: usize = 3;

/// Outside of PyTorch: cuBLAS, NCCL. Logs: 0.35 (fit-03), 0.08 (fit-25), 0.26 (fit-10), 0.25 (fit-36, two
/// ranks), 0.21 (fit-08, eight ranks). Not explained: 1.79 of a development build (fit-01), and some 2 GiB
/// that are missing beside it on four H100 (fit-07).
const LIBRARIES_GIB: f64 = 0.25;
/// The CUDA context of a process, in releases that count it: with the libraries 0.74, as logged for two
/// ranks on H20.
const CONTEXT_GIB: f64 = 0.5;
/// What loading leaves behind with two ranks and more: 0.02 (fit-34), 0.07 (fit-12), 0.16 (fit-36), 0
/// (fit-08) over the plan's weights.
const LEFT_BEHIND_GIB: f64 = 0.1;

/// Batch sizes that are captured: 1, 2, 4 and multiples of 8 up to 256, or up to 512 (fewer since 2026).
const OLD_CAPTURES: usize = 35;
const CAPTURES: usize = 67;
/// Of a captured piece, one for each layer and size. Logs: 0.23 GiB (fit-10, 32 layers), 1.0 (fit-31, 48),
/// 3.45 (fit-08, 94); others without their layers 0.11, 0.31 and 0.96. That is 0.1 to 0.6 MiB a piece: this
/// is rough, and on the low side for experts.
const PIECE_GIB: f64 = 0.2 / 1024.0;
/// What the graphs' trial run asks for, by hidden size. Not logged but left over: of fit-10's 1.44 GiB of
/// peak activation once the forward pass is taken off, 1.2 (hidden size 4,096), and of fit-17's budget once
/// all else is, 1.3 (5,120). Two rows only; that it grows with hidden size is a guess between them.
const RESERVED_GIB_PER_FEATURE: f64 = 2.7e-4;

pub(super) fn settings(release: &Release, ask: &Ask) -> Settings {
    let limits = ask.limits;
    let max_model_len = limits.max_model_len.unwrap_or(ask.shape.positions);
    let large = is_large(release, &ask.card);
    let tokens = match release.v1 {
        true if large => LARGE_TOKENS,
        true => TOKENS,
        false if max_model_len > CHUNKED_FROM => release.chunk_tokens,
        false => max_model_len.max(LEAST_TOKENS),
    };
    let seqs = match large {
        true => LARGE_SEQS,
        false => release.max_num_seqs,
    };
    Settings {
        max_model_len,
        utilization: limits.utilization.unwrap_or(release.utilization),
        max_num_seqs: limits.max_num_seqs.unwrap_or(seqs),
        max_num_batched_tokens: limits.max_num_batched_tokens.unwrap_or(tokens),
    }
}

fn is_large(release: &Release, card: &Card) -> bool {
    let named = |name: &str| card.name.to_lowercase().contains(name);
    let large = card.memory_gib >= LARGE_GIB;
    match release.large_cards {
        LargeCards::None => false,
        LargeCards::Hopper => named("h100") || named("h200"),
        LargeCards::From70Gib => large,
        LargeCards::From70GibButA100 => large && !named("a100"),
    }
}

/// Whether the second model runner serves this model.
fn second_runner(release: &Release, ask: &Ask) -> bool {
    match release.second_runner {
        SecondRunner::Never => false,
        SecondRunner::Dense => ask.shape.experts().is_none(),
        SecondRunner::Always => true,
    }
}

pub(super) fn terms(release: &Release, stage: &Stage) -> Terms {
    let graphs_in_budget = release.reserves_graphs[usize::from(second_runner(release, stage.ask))];
    Terms {
        weights: weights(stage),
        activations: activations(release, stage),
        overhead: overhead(release),
        graphs: graphs(release, stage, graphs_in_budget),
        graphs_in_budget,
    }
}

fn weights(stage: &Stage) -> Item {
    let ask = stage.ask;
    // Cosines and sines of every position, in the activations' type.
    let rope = ask.shape.positions * ask.shape.head_dim * ask.dtype().bytes();
    let left = match ask.ranks() {
        1 => 0.0,
        _ => LEFT_BEHIND_GIB,
    };
    let plan = stage.weights as f64 / GIB;
    let rope_gib = rope as f64 / GIB;
    Item::from_gib(
        plan + rope_gib + left,
        format!(
            "{plan:.2} of the plan + {rope_gib:.2} rotary table + {left:.2} left behind by loading"
        ),
    )
}

/// The larger of the forward pass and the sampler behind it.
fn activations(release: &Release, stage: &Stage) -> Item {
    let (ask, settings) = (stage.ask, stage.settings);
    let element = ask.dtype().bytes();
    let tokens = settings.max_num_batched_tokens;
    let hidden = ask.shape.hidden_size;
    let width = HIDDEN_ROWS * hidden + mlp_width(stage);
    let forward = (tokens * width * element) as f64 / GIB;
    let forward_how = format!("{tokens} tokens x {width} values x {element} B");
    let rows = settings.max_num_seqs.min(tokens);
    let each = match (second_runner(release, ask), release.sampler) {
        (true, _) => SECOND_RUNNER_BYTES,
        (false, Sampler::Sort) => SORT_BYTES,
        (false, Sampler::Threshold) => THRESHOLD_BYTES,
    };
    let vocab = ask.shape.vocab_size;
    let logits = (rows * vocab) as f64 * each + (tokens * hidden * element) as f64;
    let sampler = logits / GIB;
    match stage.last && sampler > forward {
        false => Item::from_gib(forward, format!("forward pass: {forward_how}")),
        true => Item::from_gib(
            sampler,
            format!(
                "sampler: {rows} rows x {vocab} logits x {each} B + {tokens} hidden states (the forward pass takes {forward:.2}: {forward_how})"
            ),
        ),
    }
}

/// Values that a token has inside an MLP at once: gate and up, and their product. With experts a copy of
/// the token for each that it chose, and one buffer before and behind them that the larger side fills.
fn mlp_width(stage: &Stage) -> usize {
    let (shape, rank) = (&stage.ask.shape, stage.plan.rank_shape(0));
    let mut layers = shape.layers[stage.layers.clone()].iter();
    let dense_width = match layers.any(|layer| matches!(layer.mlp, Mlp::Dense { .. })) {
        true => 3 * rank.intermediate_size,
        false => 0,
    };
    let expert_width = shape.experts().map_or(0, |experts| {
        let inside = rank.moe_intermediate_size;
        experts.per_token * ((2 * inside).max(shape.hidden_size) + inside)
    });
    dense_width.max(expert_width)
}

fn overhead(release: &Release) -> Item {
    match release.counts_context {
        false => Item::from_gib(LIBRARIES_GIB, "cuBLAS and NCCL, as logs show"),
        true => Item::from_gib(
            LIBRARIES_GIB + CONTEXT_GIB,
            "cuBLAS and NCCL, and the CUDA context, which this release counts",
        ),
    }
}

fn graphs(release: &Release, stage: &Stage, in_budget: bool) -> Item {
    if stage.ask.eager {
        return Item::from_gib(0.0, "none: eager");
    }
    if in_budget {
        let hidden = stage.ask.shape.hidden_size;
        let gib = RESERVED_GIB_PER_FEATURE * hidden as f64;
        return Item::from_gib(
            gib,
            format!(
                "reserved in the budget after a trial, about 0.27 GiB for each 1,000 of hidden size {hidden}"
            ),
        );
    }
    let sizes = match release.v1 {
        true => CAPTURES,
        false => OLD_CAPTURES,
    };
    let layers = stage.layers.len();
    Item::from_gib(
        PIECE_GIB * (sizes * layers) as f64,
        format!("on top of the budget: {sizes} batch sizes x {layers} layers x 0.2 MiB"),
    )
}
