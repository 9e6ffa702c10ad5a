//! What is recommended.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target::Target;
use crate::capacity::Objective;
use crate::ground::results::Kind;

/// Value of `Recommendation::schema`.
pub const RECOMMENDATION_SCHEMA: &str = "candlepower/recommendation/1";

/// Layouts that hold a load, or what comes nearest to one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recommendation {
    /// `RECOMMENDATION_SCHEMA` of the version that wrote it.
    pub schema: String,
    pub kind: Kind,
    /// As it was asked for.
    pub model: String,
    /// Whose rules decided: `candlepower`, `vllm`, `sglang`, `llama.cpp`.
    pub engine: String,
    /// The release of vLLM whose rules these are came with this number.
    pub vllm_rules_since: Option<String>,
    pub target: Target,
    /// Null: nothing but room and the load itself was asked for.
    pub objective: Option<Objective>,
    /// US dollars an hour; null: no limit.
    pub max_price: Option<f64>,
    /// Cheapest first; those without a price behind them, fewest GPUs first and of those the smallest.
    pub layouts: Vec<Recommended>,
    /// Ways to lay the model on the cards that were asked for.
    pub tried: usize,
    /// Of these, with room for all requests at once.
    pub with_room: usize,
    /// Where nothing holds: what comes nearest.
    pub nearest: Option<Miss>,
    /// What was taken for granted, and what the figures do not say.
    pub notes: Vec<String>,
    /// That the answer took.
    pub seconds: f64,
}

impl Recommendation {
    /// The JSON Schema of what is written.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Recommendation).to_value()
    }
}

/// One layout that holds the load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recommended {
    /// As `--gpu` takes it.
    pub gpu: String,
    /// In full.
    pub gpu_name: String,
    pub gpus: usize,
    /// Tensor-parallel ranks of a copy.
    pub tp: usize,
    /// Pipeline stages of a copy.
    pub pp: usize,
    pub expert_parallel: bool,
    /// Whole copies of the model.
    pub replicas: usize,
    /// As the checkpoint states it; null: none.
    pub quantisation: Option<String>,
    /// What `fit` says.
    pub verdict: String,
    /// That the KV cache of a copy holds.
    pub kv_tokens: Option<u64>,
    /// Requests of the load that run at once, in all copies.
    pub max_concurrency: Option<f64>,
    /// US dollars; null: no price is known.
    pub price_per_hour: Option<f64>,
    /// Of the price, at the load that was asked for, all of it put on output tokens; null: one of the two is not known.
    pub usd_per_million_output_tokens: Option<f64>,
    /// Where the price comes from.
    pub price: Option<Rent>,
    /// On simulated cards; null: they do not run such a model.
    pub predicted: Option<Predicted>,
    pub command: Commands,
    /// Why there is no command of a name.
    pub absent: BTreeMap<String, String>,
}

/// Of one card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rent {
    /// US dollars.
    pub usd_per_gpu_hour: f64,
    /// Who asked it, and when.
    pub source: String,
}

/// How the load goes on simulated cards, all copies together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Predicted {
    /// Of the two latencies, such as 95.
    pub percentile: u32,
    pub ttft_ms: Option<f64>,
    pub tpot_ms: Option<f64>,
    /// Tokens a second.
    pub output_throughput: Option<f64>,
    /// A second.
    pub request_throughput: Option<f64>,
    /// The highest load that keeps the limits: requests in flight, or a second. It is looked for up to four times the
    /// load that was asked for, and as far as there is room for all at once. Null: it was not looked for.
    pub capacity: Option<f64>,
    /// What the next load would break (`ttft`, `tpot`, `e2el`, `kv`, `queue`), or where room ends (`kv_cache`,
    /// `max_num_seqs`); null: the search ended before.
    pub bound_by: Option<String>,
}

/// To be started on the machine, each with the settings that `fit` judged for its engine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Commands {
    pub vllm: Option<String>,
    pub sglang: Option<String>,
    pub llama_server: Option<String>,
    /// This program's own engine under the load of one copy.
    pub candlepower: Option<String>,
    /// The simulated run of one copy whose figures stand in `predicted`.
    pub simulated: Option<String>,
}

/// What comes nearest to a wish that nothing holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Miss {
    /// Cards and layout, in words.
    pub layout: String,
    /// US dollars; null: no price is known.
    pub price_per_hour: Option<f64>,
    /// Why it does not hold.
    pub reason: String,
    /// What would hold there.
    pub changes: Vec<String>,
}
