//! The answer, as `--json` prints it.

use serde::Serialize;

use super::ask::{Ask, Engine, GIB};
use super::explain;
use super::fixes::{self, Fix};
use super::ledger::Ledger;
use super::reason::{binds, message, reason, waves};
use super::record::{self, Record};
use super::verdict::{Judged, Verdict, judge};

/// GiB of the rank that holds the most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerRank {
    /// Weights of this rank.
    pub weights_gib: f64,
    /// What is left for the KV cache.
    pub kv_gib: f64,
    /// Activations of the largest step.
    pub activations_gib: f64,
    /// Communication, libraries and the CUDA context.
    pub overhead_gib: f64,
    /// CUDA graphs.
    pub graphs_gib: f64,
    /// All of these.
    pub total_gib: f64,
    /// The share of the memory that the engine may use.
    pub budget_gib: f64,
    /// Of the card, in all.
    pub memory_gib: f64,
}

/// Whether a model runs, and the ledger that says so.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Whether it runs, all its requests at once or some of them queued.
    pub fits: bool,
    /// What came out, in a word.
    pub verdict: Verdict,
    /// One sentence with the numbers that decided.
    pub reason: String,
    /// That does not hold: for `Unsupported`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What vLLM prints when it gives up so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The model, as it was asked for.
    pub model: String,
    /// The card, in full.
    pub gpu: String,
    /// GPUs in all.
    pub gpus: usize,
    /// Whole copies of the model on them.
    pub replicas: usize,
    /// Tensor-parallel ranks of a copy.
    pub tp: usize,
    /// Pipeline stages of a copy.
    pub pp: usize,
    /// Whether experts are whole on one rank each.
    pub expert_parallel: bool,
    /// Whose rules: `candlepower`, `vllm` of a release, `sglang`, `llama.cpp`.
    pub engine: &'static str,
    /// The release of vLLM whose rules these are came with this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vllm_rules_since: Option<String>,
    /// `None` here and below: the model cannot be split so, and there is nothing to count.
    pub per_rank: Option<PerRank>,
    /// That the KV cache of a replica holds.
    pub kv_tokens: Option<u64>,
    /// Of one rank.
    pub kv_bytes_per_token: Option<u64>,
    /// Tokens of the longest request that was asked for, or that the model has positions for.
    pub max_model_len: usize,
    /// At most the model's own positions.
    pub max_model_len_that_fits: Option<u64>,
    /// Requests that run at a time.
    pub max_num_seqs: usize,
    /// Tokens of one step.
    pub max_num_batched_tokens: usize,
    /// Share of the card's memory that the engine may use.
    pub gpu_memory_utilization: f64,
    /// With a load: its requests that run at once. Else requests of `max_model_len` that the KV cache holds.
    pub max_concurrency: Option<f64>,
    /// What keeps more requests of the load from running at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binds: Option<&'static str>,
    /// Turns in which the load's requests run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waves: Option<usize>,
    /// How far such answers were off where somebody published what came out; `None`: nobody did.
    pub record: Option<Record>,
    /// What was taken for granted of the model.
    pub assumptions: Vec<String>,
    /// Cheapest first.
    pub fixes: Vec<Fix>,
    /// The arithmetic, line by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub explain: Vec<String>,
}

/// Thinks `ask` through, and looks for the nearest changes where it does not run as it stands.
pub fn answer(ask: &Ask) -> Answer {
    let judged = judge(ask);
    let mut answer = plain(ask, &judged);
    answer.fixes = fixes::fixes(ask, &judged);
    answer.explain = explain::explain(ask, &judged);
    answer
}

/// As [`answer`], without changes and without arithmetic: for whoever asks of many cards.
pub fn assess(ask: &Ask) -> Answer {
    plain(ask, &judge(ask))
}

fn plain(ask: &Ask, judged: &Judged) -> Answer {
    let settings = judged.settings;
    let ledger = judged.ledger.as_ref();
    let capacity = judged.capacity;
    let loaded = capacity.zip(ask.load);
    Answer {
        fits: judged.verdict.fits(),
        verdict: judged.verdict,
        reason: reason(ask, judged),
        rule: judged.broken.as_ref().map(|broken| broken.rule.clone()),
        message: message(ask, judged),
        model: ask.model.clone(),
        gpu: ask.card.name.clone(),
        gpus: ask.gpus,
        replicas: ask.replicas(),
        tp: ask.split.tp,
        pp: ask.pp,
        expert_parallel: ask.split.expert_parallel,
        engine: ask.engine.name(),
        vllm_rules_since: match ask.engine {
            Engine::Vllm(release) => Some(release.to_string()),
            Engine::Candlepower | Engine::Sglang | Engine::LlamaCpp(_) => None,
        },
        per_rank: ledger.map(per_rank),
        kv_tokens: ledger.map(|ledger| ledger.tokens),
        kv_bytes_per_token: ledger.map(|ledger| ledger.kv_bytes_per_token),
        max_model_len: settings.max_model_len,
        max_model_len_that_fits: ledger.map(|ledger| ledger.longest),
        max_num_seqs: settings.max_num_seqs,
        max_num_batched_tokens: settings.max_num_batched_tokens,
        gpu_memory_utilization: settings.utilization,
        max_concurrency: capacity.map(|capacity| match ask.load {
            Some(_) => capacity.requests() as f64,
            None => capacity.kv,
        }),
        binds: loaded.map(|(capacity, _)| binds(capacity).name()),
        waves: loaded.and_then(|(capacity, load)| waves(load.concurrency, capacity)),
        record: record::record(ask),
        assumptions: ask.shape.assumptions.clone(),
        fixes: Vec::new(),
        explain: Vec::new(),
    }
}

fn per_rank(ledger: &Ledger) -> PerRank {
    let terms = &ledger.terms;
    let kv = ledger.kv_bytes.max(0) as u64;
    let items = [
        &terms.weights,
        &terms.activations,
        &terms.overhead,
        &terms.graphs,
    ];
    let total = kv + items.iter().map(|item| item.bytes).sum::<u64>();
    let gib = |bytes: u64| bytes as f64 / GIB;
    PerRank {
        weights_gib: terms.weights.gib(),
        kv_gib: gib(kv),
        activations_gib: terms.activations.gib(),
        overhead_gib: terms.overhead.gib(),
        graphs_gib: terms.graphs.gib(),
        total_gib: gib(total),
        budget_gib: gib(ledger.budget),
        memory_gib: gib(ledger.memory),
    }
}
