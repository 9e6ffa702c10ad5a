//! The lines of a run's raw files. Seconds are from the run's start.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::event::FinishReason;
use super::gpu::{GpuSample, WatchedGpu};
use super::log::Entry;
use super::request::RequestId;

/// One line of `requests.jsonl`: everything that was observed of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRecord {
    pub id: RequestId,
    pub prompt_tokens: usize,
    pub output_tokens: usize,
    /// Scheduled arrival.
    pub arrival: f64,
    /// Handed to the engine.
    pub submitted: Option<f64>,
    /// First scheduled.
    pub admitted: Option<f64>,
    /// Host-visible time of each output token.
    pub tokens: Vec<f64>,
    pub finish: Option<FinishReason>,
    pub preemptions: u32,
    /// Prompt tokens that were found in the prefix cache when it was first scheduled; null where the cache was off.
    #[serde(default)]
    pub cached_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// One line of `steps.jsonl`: one pass of scheduler and executor.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StepRecord {
    /// From 0 behind the warm-up, as a trace counts them.
    pub step: u64,
    pub start: f64,
    pub end: f64,
    /// Part of the time from the end of the step before to `start` in which the engine held no request.
    #[serde(default)]
    pub idle_seconds: f64,
    /// Part of `end - start` spent inside the executor.
    pub exec_seconds: f64,
    /// Requests holding KV blocks after scheduling.
    pub running: usize,
    pub waiting: usize,
    /// Requests that got tokens in this step.
    pub scheduled: usize,
    /// Prompt (or recomputed) tokens processed.
    pub prefill_tokens: usize,
    /// Tokens of requests that generate one token each.
    pub decode_tokens: usize,
    /// Output tokens that this step produced.
    pub output_tokens: usize,
    pub preempted: usize,
    pub kv_blocks_used: usize,
    pub kv_blocks_total: usize,
    /// Bytes of weights, activations and KV that the step's operations must move, by formula.
    pub bytes: u64,
    /// Floating-point operations of the step, by formula.
    pub flops: u64,
    /// What each rank brought to the exchanges of the step; 0 of a single rank.
    #[serde(default)]
    pub communication_bytes: u64,
    /// In them, the wait for the slowest rank included; null where devices ran the step and nobody timed them. By the
    /// host's clock it is rank 0's part of `exec_seconds`, by events of devices the mean over the ranks.
    #[serde(default)]
    pub communication_seconds: Option<f64>,
    /// The rest of the ranks' time by the same clock.
    #[serde(default)]
    pub compute_seconds: Option<f64>,
    /// Part of `communication_seconds` before the slowest rank had come; null where a formula tells the time, or ranks
    /// are processes on CPUs.
    #[serde(default)]
    pub wait_seconds: Option<f64>,
    /// The same three of each rank in the process of rank 0, in their order; left out of a single rank, and where nobody
    /// timed them.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub ranks: SmallVec<[RankSeconds; RANKS]>,
}

/// Of these a record holds the times without asking for memory: a step allocates nothing.
const RANKS: usize = 8;

/// How the time of a step divides on one rank.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RankSeconds {
    /// Outside of exchanges.
    pub compute_seconds: f64,
    /// In them, the wait for the slowest rank included.
    pub communication_seconds: f64,
    /// Part of it before the slowest rank had come.
    pub wait_seconds: Option<f64>,
}

/// One line of `experts.jsonl`: the tokens that a sparse layer sent to each of the model's experts in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpertLoad {
    pub layer: usize,
    /// By expert. A token counts once for each expert that it chose, computed again after a preemption again.
    pub tokens: Vec<u32>,
}

/// One line of `telemetry.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TelemetrySample {
    pub time: f64,
    /// CPU time of this process over the last interval; 100 is one core.
    pub cpu_percent: f64,
    /// Memory in use on the machine, of all memory.
    pub ram_percent: f64,
    /// Resident memory of this process.
    pub rss_bytes: u64,
    /// The GPUs that are watched, in the order of ranks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSample>,
    /// The other processes of an MPI job, in the order of their ranks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<ProcessSample>,
}

/// Another process of the job, and its machine; `None` where it told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProcessSample {
    pub cpu_percent: Option<f64>,
    pub ram_percent: Option<f64>,
    pub rss_bytes: Option<u64>,
}

/// What a process saw of itself, its machine and its GPUs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Recorded {
    /// In order of time.
    pub samples: Vec<TelemetrySample>,
    /// In the order of the samples' GPUs.
    pub gpus: Vec<WatchedGpu>,
}

impl Entry for RequestRecord {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.tokens.capacity() * size_of::<f64>()
    }
}

impl Entry for StepRecord {
    fn bytes(&self) -> usize {
        let beside = self.ranks.spilled().then_some(self.ranks.capacity());
        size_of::<Self>() + beside.unwrap_or(0) * size_of::<RankSeconds>()
    }
}
