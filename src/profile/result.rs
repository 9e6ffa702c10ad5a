//! What `profile` gives: data, as its JSON holds it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::Phase;
use crate::ground::results::Kind;

/// Value of `Profile::schema`. The number changes when a field is renamed or removed.
pub const SCHEMA: &str = "candlepower/profile/1";

/// What one load's steps were made of. Microseconds, bytes and FLOPs are those of one step on rank 0,
/// means over the middle half of the steps by their time, so that they add up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    pub schema: String,
    pub kind: Kind,
    /// As on the command line: `cpu`, `cuda`, `sim:<gpu>`.
    pub device: String,
    /// The processor's or the card's own name.
    pub hardware: String,
    pub model: String,
    /// Layers that ran, and that the model has.
    pub layers: usize,
    pub model_layers: usize,
    pub tp: usize,
    /// CPU threads of all ranks.
    pub threads: usize,
    pub phase: Phase,
    /// Sequences.
    pub batch: usize,
    /// Tokens of each, those of the step included.
    pub context: usize,
    /// Tokens that the step computes.
    pub rows: usize,
    /// Of all ranks together, the best seen before and behind the steps of each load of the run; null where
    /// they cannot be measured.
    pub roofs: Option<RoofRates>,
    pub timed_by: TimedBy,
    /// Steps that ran.
    pub steps: usize,
    /// From submission to the end of the wait.
    pub step_us: f64,
    /// Of all steps: the fastest and the slowest.
    pub step_us_range: [f64; 2],
    pub tokens_per_s: f64,
    /// By time, the longest first.
    pub ops: Vec<OpRow>,
    /// Part of the step in which rank 0 ran no operation: the host's own work, and the way there and back.
    pub host_us: f64,
    pub host_share: f64,
    pub totals: Totals,
    /// One a rank, where there are several.
    pub ranks: Vec<RankRow>,
    /// What the step of all layers would take, where only some ran.
    pub whole_model: Option<Whole>,
    /// Events of a step, of all threads, by name.
    pub counters: BTreeMap<String, Option<f64>>,
    /// For every null: why.
    pub not_observed: BTreeMap<String, String>,
}

impl Profile {
    /// What `profile --json` printed: one, or several in an array; `None`: it is nothing of this version.
    pub fn list(value: serde_json::Value) -> Option<Vec<Self>> {
        let list = match value {
            serde_json::Value::Array(list) => list,
            one => vec![one],
        };
        let profiles = list.into_iter().map(|value| {
            let is_one = value.get("schema")?.as_str()? == SCHEMA;
            serde_json::from_value(Some(value).filter(|_| is_one)?).ok()
        });
        let all = profiles.collect::<Option<Vec<Self>>>();
        all.filter(|all| !all.is_empty())
    }

    /// The JSON Schema of a profile.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Profile).to_value()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoofRates {
    /// Reading memory.
    pub read_gb_s: f64,
    /// Multiply-adds, two operations each.
    pub gflop_s: f64,
}

/// All calls of one operation in a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpRow {
    pub name: String,
    pub calls: u64,
    pub us: f64,
    /// Median time of one call.
    pub call_us: f64,
    /// Of the step, 0 to 1.
    pub share: f64,
    /// By formula: weights and cache once, activations once each way.
    pub bytes: u64,
    pub flops: u64,
    pub gb_s: f64,
    pub gflop_s: f64,
    /// Of the roof that is reached first, above 1 where a cache spared memory.
    pub roof_fraction: Option<f64>,
    pub bound: Option<Bound>,
    /// Time at the roof that is reached first.
    pub floor_us: Option<f64>,
    /// Time above it.
    pub gap_us: Option<f64>,
    /// On the fastest and on the slowest rank; null on one rank.
    pub ranks_us: Option<[f64; 2]>,
    /// Part spent waiting for the last rank to come; null where ranks do not meet.
    pub wait_us: Option<f64>,
    /// What the operation launched in a step, in order of first appearance.
    pub kernels: Option<Vec<KernelRow>>,
}

/// All launches of one kernel in one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KernelRow {
    /// Its function's name; of a library that picks its own kernel, where events time it, the call's.
    pub name: String,
    pub launches: u64,
    /// Of all of them: each from its start to its end; where events time them, from the end of what was launched before it in
    /// its operation, else from that one's start.
    pub us: f64,
    /// Blocks.
    pub grid: Option<[u32; 3]>,
    /// Threads of a block.
    pub block: Option<u32>,
    /// Of a thread.
    pub registers: Option<u32>,
    /// Of a block, declared and asked for.
    pub shared_bytes: Option<u32>,
    /// Threads that a multiprocessor holds at once, of those that it can at most: by the driver, of a library's kernel and on a
    /// virtual GPU by calculation.
    pub occupancy: Option<f64>,
    /// Moved to and from memory, as if nothing were cached: sectors of 32 bytes of each request of a warp.
    pub bytes: Option<u64>,
}

/// How operations are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimedBy {
    /// The host's clock around each.
    Clock,
    /// The GPU's own records of kernels, in the steps as they run untimed: decode steps in their CUDA graph, where they have
    /// one. An operation begins with its first kernel and ends with its last one.
    Cupti,
    /// Events on the GPU around each, and between kernels of one. CUDA graphs are off.
    Events,
    /// They did not run: the cost model of a simulated device.
    Model,
}

/// What an operation waits for most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    Memory,
    Compute,
    /// Reading and computing one after the other would take less than half of its time.
    Latency,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Compute => "compute",
            Self::Latency => "latency",
        })
    }
}

/// Of all operations of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Their time and the host's: the step, unless operations ran beside each other.
    pub us: f64,
    /// Of rank 0's kernels alone, without the gaps between them and the host.
    pub kernels_us: Option<f64>,
    pub bytes: u64,
    pub flops: u64,
    /// Over the step's time.
    pub gb_s: f64,
    pub gflop_s: f64,
    /// The floors of all operations, one after another.
    pub floor_us: Option<f64>,
    /// Of the step, 0 to 1.
    pub roof_fraction: Option<f64>,
    /// The step's time above its floor.
    pub gap_us: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RankRow {
    pub rank: usize,
    /// In operations.
    pub busy_us: f64,
    /// Part of it in exchanges with the others,
    pub exchange_us: f64,
    /// and part of that waiting until the last one had come.
    pub wait_us: f64,
}

/// The step of all layers, from one of some: what lies outside the layers once, the last layer once, the
/// others as often as the model has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Whole {
    pub layers: usize,
    pub step_us: f64,
    pub tokens_per_s: f64,
    /// By time, the longest first.
    pub ops: Vec<WholeOp>,
    pub host_us: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WholeOp {
    pub name: String,
    pub calls: u64,
    pub us: f64,
    /// Of the step, 0 to 1.
    pub share: f64,
}
