//! A run of another tool or another day, as it stands beside ours.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Check, Extended, Kind, Metrics};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
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
    /// What measured it, where it was not this program or a publication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Of another tool: settings of the engine, under this program's names where they mean the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    pub precision_bits: Option<u32>,
    pub concurrency: Option<usize>,
    /// Arrivals a second; null in a closed loop, and where all requests came at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<f64>,
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
    /// Of another tool: what its file says that this program says too, under the names of `extended`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, Figure>,
    /// Of another tool: what this program has no like of, under the tool's own names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, Figure>,
    /// Whether the figures of such a file agree with each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// For every null of `metrics` (and `extended`): why.
    pub not_observed: BTreeMap<String, String>,
    /// The figures as published, artefacts included.
    pub raw: BTreeMap<String, f64>,
    /// The run failed as a whole, in the words of its source.
    pub failure: Option<String>,
    /// What a reader must know before comparing.
    pub notes: Vec<String>,
}

/// A figure as another tool defines it. Figures of different definitions are never divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    pub value: f64,
    pub definition: String,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientMode {
    /// Tokens were seen one by one.
    Streaming,
    /// Only the end of an answer was seen: no first token, no time between tokens.
    NonStreaming,
    #[default]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ThroughputDefinition {
    #[serde(rename = "output")]
    Output,
    #[serde(rename = "input+output")]
    InputAndOutput,
}
