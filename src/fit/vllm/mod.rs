//! What vLLM takes: its defaults by card and release, and the memory that its trial run measures.
//!
//! The case ids, here and in `releases`, name rows of `tests/fixtures/calibration/startups.json`.

mod activations;
mod graphs;
mod outside;
mod weights;

pub(super) use outside::before_start;

use super::ask::{Ask, Card, GIB};
use super::releases::{LargeCards, Release, SecondRunner};
use super::terms::{Settings, Stage, Terms};
use crate::hardware::Capability;

/// From here on a card is large (`arg_utils.py`).
const LARGE_GIB: f64 = 70.0;
const LARGEST_GIB: f64 = 160.0;
/// `max_num_batched_tokens` of an API server on the largest cards, on large ones and on others.
const LARGEST_TOKENS: usize = 16_384;
const LARGE_TOKENS: usize = 8192;
const TOKENS: usize = 2048;
/// `max_num_seqs` on large cards.
const LARGE_SEQS: usize = 1024;
/// The older engine chunks prompts where contexts are longer than this.
const CHUNKED_FROM: usize = 32_768;
/// And only on cards from here on, as the 2.53 GiB of fit2-170 say, of a step of 40,000 tokens.
const CHUNKS_FROM: Capability = Capability { major: 8, minor: 0 };
/// It takes at least this many tokens a step where it does not, and of a model with a tower.
const LEAST_TOKENS: usize = 2048;
const LEAST_TOKENS_WITH_TOWER: usize = 5120;

pub(super) fn settings(release: &Release, ask: &Ask) -> Settings {
    let limits = ask.limits;
    let max_model_len = limits.max_model_len.unwrap_or(ask.shape.positions);
    let (seqs, tokens) = server_limits(release, &ask.card);
    let seqs = limits.max_num_seqs.unwrap_or(seqs);
    let tokens = match release.v1 {
        // No more than so many requests have.
        true => tokens.min(seqs.saturating_mul(max_model_len)),
        false => {
            let chunks = max_model_len > CHUNKED_FROM && ask.card.capability >= CHUNKS_FROM;
            let chunk = release.chunk_tokens.filter(|_| chunks);
            let least = match ask.shape.images {
                Some(_) => LEAST_TOKENS_WITH_TOWER,
                None => LEAST_TOKENS,
            };
            chunk.unwrap_or(max_model_len.max(least))
        }
    };
    let tokens = limits.max_num_batched_tokens.unwrap_or(tokens);
    Settings {
        max_model_len,
        utilization: limits.utilization.unwrap_or(release.utilization),
        max_num_seqs: limits.max_num_seqs.unwrap_or(seqs.min(tokens)),
        max_num_batched_tokens: tokens,
    }
}

/// `max_num_seqs` and `max_num_batched_tokens` that a server of `release` takes on `card` unless it is told; of the
/// older engine, whose tokens follow the length of requests, the least.
pub fn server_limits(release: &Release, card: &Card) -> (usize, usize) {
    let largest = release.large_cards == LargeCards::AndFrom160Gib;
    match is_large(release, card) {
        true if largest && card.memory_gib >= LARGEST_GIB => (LARGE_SEQS, LARGEST_TOKENS),
        true => (LARGE_SEQS, LARGE_TOKENS),
        false => (release.max_num_seqs, TOKENS),
    }
}

fn is_large(release: &Release, card: &Card) -> bool {
    let named = |name: &str| card.name.to_lowercase().contains(name);
    let large = card.memory_gib >= LARGE_GIB;
    match release.large_cards {
        LargeCards::None => false,
        LargeCards::Hopper => named("h100") || named("h200"),
        LargeCards::From70Gib => large,
        LargeCards::From70GibButA100 | LargeCards::AndFrom160Gib => large && !named("a100"),
    }
}

/// Whether the second model runner serves this model.
fn second_runner(release: &Release, ask: &Ask) -> bool {
    match release.second_runner {
        SecondRunner::Never => false,
        SecondRunner::Dense => {
            let recurrent = ask.shape.layers.iter().any(|layer| layer.state.is_some());
            ask.shape.experts().is_none() && !recurrent
        }
        SecondRunner::Always => true,
    }
}

pub(super) fn terms(release: &Release, stage: &Stage) -> Terms {
    let graphs_in_budget = release.reserves_graphs[usize::from(second_runner(release, stage.ask))];
    let weights = weights::item(release, stage);
    let multiplied = weights::while_multiplied(release, stage);
    Terms {
        while_loading: match multiplied {
            0 => 0,
            // The CUDA context is there too, which the budget of such releases does not count.
            beside => weights.bytes + beside + (outside::CONTEXT_GIB * GIB) as u64,
        },
        weights,
        activations: activations::item(release, stage),
        overhead: outside::item(release, stage),
        graphs: graphs::item(release, stage, graphs_in_budget),
        graphs_in_budget,
        beyond_graphs: match graphs_in_budget {
            true => graphs::beyond_estimate(release, stage),
            false => 0,
        },
        before_start: (before_start(release, stage.ask).unwrap_or(0.0) * GIB) as u64,
    }
}
