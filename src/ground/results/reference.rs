//! A run of another tool or another day, as it stands beside ours.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Extended, Kind, Metrics};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReferenceRun {
    /// `hardware/model/c<concurrency>`: what `--reference` and `compare reference:` accept.
    pub name: String,
    pub kind: Kind,
    /// File or publication it was read from.
    pub source: String,
    pub hardware: ReferenceHardware,
    pub model: String,
    /// The engine that ran the model.
    pub backend: String,
    pub precision_bits: Option<u32>,
    pub concurrency: Option<usize>,
    pub requests: Option<u64>,
    pub input_len: Option<usize>,
    /// Output tokens asked for.
    pub output_len: Option<usize>,
    /// Output tokens that came, a request; less than asked for means early ends.
    pub tokens_per_request: Option<f64>,
    pub client_mode: ClientMode,
    /// What `overall_total_throughput` counts; null when it cannot be told.
    pub throughput_definition: Option<ThroughputDefinition>,
    pub metrics: Metrics,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended: Option<Extended>,
    /// For every null of `metrics` (and `extended`): why.
    pub not_observed: BTreeMap<String, String>,
    /// The figures as published, artefacts included.
    pub raw: BTreeMap<String, f64>,
    /// The run failed as a whole, in the words of its source.
    pub failure: Option<String>,
    /// What a reader must know before comparing.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ReferenceHardware {
    /// Short name, such as `rtx4090-48g-x2`.
    pub name: String,
    pub gpu: Option<String>,
    /// GPUs that took part.
    pub gpus: usize,
    pub gpu_memory_gb: Option<f64>,
    pub cpu: Option<String>,
    pub ram_gib: Option<f64>,
    pub cuda: Option<String>,
    pub driver: Option<String>,
    pub os: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientMode {
    /// Tokens were seen one by one.
    Streaming,
    /// Only the end of an answer was seen: no first token, no time between tokens.
    NonStreaming,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ThroughputDefinition {
    #[serde(rename = "output")]
    Output,
    #[serde(rename = "input+output")]
    InputAndOutput,
}
