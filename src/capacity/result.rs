//! What `capacity` answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::objective::{Bound, Objective};
use super::options::Search;
use crate::ground::results::{
    Engine, Environment, Extended, Hardware, Kind, Metrics, Model, Scenario,
};

/// Value of `Capacity::schema`.
pub const CAPACITY_SCHEMA: &str = "candlepower/capacity/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// `CAPACITY_SCHEMA` of the version that wrote it.
    pub schema: String,
    pub kind: Kind,
    /// It was cut short: the edge lies between the two loads, which may be far apart.
    pub partial: bool,
    pub environment: Environment,
    pub model: Model,
    pub hardware: Hardware,
    pub engine: Engine,
    pub search: Search,
    pub objective: Objective,
    /// The highest load that met the objective; null: none did.
    pub passing: Option<LoadPoint>,
    /// The lowest that did not; null: all did.
    pub failing: Option<LoadPoint>,
    /// The limit of the engine whose raise moves the edge (`kv_blocks`, `max_num_seqs`, `max_num_batched_tokens`), else
    /// the bound of the objective that the failing load broke worst (`ttft`, `tpot`, `e2el`, `goodput`, `errors`, `kv`,
    /// `queue`); `range`: no load failed; null: it was cut short.
    pub binding: Option<String>,
    /// How the worst bound breaks; null where there are not two loads to tell by.
    pub edge: Option<Edge>,
    /// What was doubled to see whether the edge moves.
    pub raised: Vec<Raised>,
    /// Every play, in order.
    pub runs: Vec<Trial>,
    /// That the search took.
    pub seconds: f64,
}

impl Capacity {
    /// The JSON Schema of what is written.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Capacity).to_value()
    }
}

/// One load, and all that was measured of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadPoint {
    /// Requests in flight, or a second.
    #[serde(serialize_with = "plain")]
    pub value: f64,
    pub scenario: Scenario,
    pub metrics: Metrics,
    pub extended: Extended,
}

/// How a bound is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Its figure grows about as the load does.
    Smooth,
    /// It jumps.
    Cliff,
}

/// One play of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    #[serde(serialize_with = "plain")]
    pub value: f64,
    pub passed: bool,
    pub bounds: Vec<Bound>,
    pub requests: usize,
    /// First arrival to last token, seconds.
    pub duration: Option<f64>,
    /// At the objective's percentile.
    pub ttft_ms: Option<f64>,
    pub tpot_ms: Option<f64>,
    pub output_throughput: Option<f64>,
    pub request_throughput: Option<f64>,
    pub max_kv_occupancy_percent: Option<f64>,
    pub preemptions: u64,
}

impl Trial {
    /// The bound that is broken worst, or is nearest to it.
    pub fn worst(&self) -> Option<&Bound> {
        let bounds = self.bounds.iter();
        bounds.max_by(|a, b| a.excess().total_cmp(&b.excess()))
    }
}

/// A limit that was raised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Raised {
    /// `kv_blocks`, `max_num_seqs`, `max_num_batched_tokens`; of a simulated card `memory_bandwidth` and `compute` too.
    pub what: String,
    #[serde(serialize_with = "plain")]
    pub from: f64,
    #[serde(serialize_with = "plain")]
    pub to: f64,
    /// The load that was played with it, beyond the edge.
    #[serde(serialize_with = "plain")]
    pub value: f64,
    /// Whether the load passed; null: it could not be played.
    pub moved: Option<bool>,
    /// How far its worst figure is beyond the limit, as a factor.
    pub excess: Option<f64>,
    /// Why it could not be played.
    pub reason: Option<String>,
}

impl Raised {
    /// A limit of the engine, which its user sets.
    pub fn is_setting(&self) -> bool {
        LIMITS.contains(&self.what.as_str())
    }
}

const LIMITS: [&str; 3] = ["kv_blocks", "max_num_seqs", "max_num_batched_tokens"];

/// A count as one.
fn plain<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match value.fract() == 0.0 && *value >= 0.0 {
        true => serializer.serialize_u64(*value as u64),
        false => serializer.serialize_f64(*value),
    }
}
