//! From the ledger to a verdict: shapes first, then bytes, then the load.

use serde::Serialize;

use super::ask::{Ask, Engine};
use super::ledger::{self, Ledger};
use super::rules::{self, Broken};
use super::terms::Settings;
use super::{candlepower, llama_cpp, sglang, vllm};
use crate::parallel::ShardPlan;

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// It runs, all requests at once.
    Fits,
    /// It runs, and some of the requests wait for others to end.
    RunsQueued,
    /// Nothing is left for CUDA graphs on top of the budget.
    GraphOom,
    /// The KV cache is too small for one request of the longest length.
    Len,
    /// Nothing is left for the KV cache.
    NoKv,
    /// The weights alone are too large for the card.
    NoWeights,
    /// A rule of the model's shapes or of the card is against it.
    Unsupported,
}

impl Verdict {
    /// Whether it starts and serves.
    pub fn fits(self) -> bool {
        matches!(self, Self::Fits | Self::RunsQueued)
    }

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fits => "FITS",
            Self::RunsQueued => "RUNS_QUEUED",
            Self::GraphOom => "GRAPH_OOM",
            Self::Len => "LEN",
            Self::NoKv => "NO_KV",
            Self::NoWeights => "NO_WEIGHTS",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

/// How many requests run at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Capacity {
    /// Of each request.
    pub tokens: usize,
    /// Requests of so many tokens that the KV caches of all replicas hold.
    pub kv: f64,
    /// Requests that the scheduler lets in, in all replicas.
    pub seqs: usize,
}

impl Capacity {
    /// Whole requests at once.
    pub fn requests(&self) -> usize {
        (self.kv as usize).min(self.seqs)
    }
}

/// An ask that was thought through.
pub(super) struct Judged {
    pub verdict: Verdict,
    pub settings: Settings,
    pub broken: Option<Broken>,
    /// Not there if the model cannot be split so.
    pub ledger: Option<Ledger>,
    pub capacity: Option<Capacity>,
}

pub(super) fn settings(ask: &Ask) -> Settings {
    match ask.engine {
        Engine::Candlepower => candlepower::settings(ask),
        Engine::Vllm(release) => vllm::settings(release, ask),
        Engine::Sglang => sglang::settings(ask),
        Engine::LlamaCpp(_) => llama_cpp::settings(ask),
    }
}

pub(super) fn judge(ask: &Ask) -> Judged {
    let settings = settings(ask);
    let unsupported = |broken| Judged {
        verdict: Verdict::Unsupported,
        settings,
        broken: Some(broken),
        ledger: None,
        capacity: None,
    };
    if let Some(broken) = rules::broken(ask) {
        return unsupported(broken);
    }
    let plan = match ShardPlan::split(&ask.shape, ask.split) {
        Ok(plan) => plan,
        Err(error) => {
            return unsupported(Broken {
                rule: error.rule,
                hint: None,
            });
        }
    };
    let ledger = ledger::tightest(ask, &plan, settings);
    let capacity = capacity(ask, &ledger, settings);
    Judged {
        verdict: verdict(ask, &ledger, settings, capacity),
        settings,
        broken: None,
        ledger: Some(ledger),
        capacity: Some(capacity),
    }
}

fn verdict(ask: &Ask, ledger: &Ledger, settings: Settings, capacity: Capacity) -> Verdict {
    let terms = &ledger.terms;
    let longest = ledger.pool.request(settings.max_model_len);
    let weights = terms.weights.bytes.max(terms.while_loading);
    if weights + terms.overhead.bytes > ledger.memory {
        Verdict::NoWeights
    } else if ledger.blocks == 0 || ledger.kv_bytes < 0 {
        Verdict::NoKv
    } else if ledger.usable() < longest && length_is_promised(ask) {
        Verdict::Len
    } else if ledger.budget + terms.on_top() + terms.before_start > ledger.memory {
        // Before the queue: what does not start has none.
        Verdict::GraphOom
    } else if ask
        .load
        .is_some_and(|load| load.concurrency > capacity.requests())
    {
        Verdict::RunsQueued
    } else {
        Verdict::Fits
    }
}

/// SGLang starts with fewer tokens than the model has positions, and refuses the requests that are too long.
fn length_is_promised(ask: &Ask) -> bool {
    ask.engine != Engine::Sglang || ask.limits.max_model_len.is_some()
}

/// At the length of the load, else at the longest that is let in.
fn capacity(ask: &Ask, ledger: &Ledger, settings: Settings) -> Capacity {
    let tokens = ask
        .load
        .map_or(settings.max_model_len, |load| load.tokens());
    let kv = ledger.usable() as f64 / ledger.pool.request(tokens).max(1) as f64;
    let whole = match ask.load {
        Some(_) => kv.floor(),
        None => kv,
    };
    Capacity {
        tokens,
        kv: whole * ask.replicas() as f64,
        seqs: settings.max_num_seqs.saturating_mul(ask.replicas()),
    }
}
