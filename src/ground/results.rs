//! `results.json`: what was run, on what, and what came out. One type for what was measured here,
//! predicted by the simulated device, or taken from someone else.

pub mod card;
pub mod gpu;
pub mod metric_set;
pub mod pacing;
pub mod reference;
pub mod setting;
pub mod start_up;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use card::{GpuInfo, GpuLink, GpuProcess};
pub use gpu::GpuMetrics;
pub use metric_set::{Extended, Metrics, SampleCounts};
pub use pacing::{AtEnd, Cancel, Drawing};
pub use reference::{ClientMode, Figure, ReferenceHardware, ReferenceRun, ThroughputDefinition};
pub use setting::{
    AllReduce, AllReduceSize, Engine, Environment, Hardware, Model, Process, RankMemory, Roofs,
    WeightSource,
};
pub use start_up::StartUp;

use super::json::words::in_words;
use super::request::RequestId;

/// Value of `Results::schema`. The number changes when a field is renamed or removed.
pub const SCHEMA: &str = "candlepower/results/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// `SCHEMA` of the version that wrote the file.
    pub schema: String,
    pub kind: Kind,
    /// The run was cut short: its numbers cover what was done until then.
    pub partial: bool,
    pub environment: Environment,
    pub model: Model,
    pub hardware: Hardware,
    pub engine: Engine,
    #[serde(default)]
    pub start_up: StartUp,
    /// One a scenario and repeat, in the order played.
    pub runs: Vec<Run>,
    /// Over scenarios played three times or more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<RepeatSummary>,
    /// Other people's runs that stand beside these.
    pub references: Vec<ReferenceRun>,
}

impl Results {
    /// Those in the value of a `results.json`.
    ///
    /// # Errors
    /// A clause: it is of another version, or not of this shape.
    pub fn of(file: serde_json::Value) -> Result<Self, String> {
        let schema = file.get("schema").and_then(|schema| schema.as_str());
        match schema.unwrap_or("") {
            SCHEMA => serde_json::from_value(file).map_err(|error| in_words(&error.to_string())),
            other => Err(format!(
                "its schema is `{other}`, this version reads `{SCHEMA}`"
            )),
        }
    }

    /// The JSON Schema of `results.json`.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Results).to_value()
    }
}

/// Where the numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// By this program, on this machine.
    Measured,
    /// By the simulated device, in virtual time.
    Predicted,
    /// Computed on a device that stands in for a GPU: what it computes is real, no time is.
    Virtual,
    /// By someone else.
    #[default]
    Reference,
}

/// One scenario played once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    pub scenario: Scenario,
    pub metrics: Metrics,
    pub extended: Extended,
    /// One entry for each GPU that was watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuMetrics>,
    /// For every null of `metrics` and `extended`, by its name: why it was not observed.
    pub not_observed: BTreeMap<String, String>,
    /// Requests that failed, the first 10,000 of them.
    pub failures: Vec<Failure>,
    /// Why the run ended before its load was played, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_short: Option<String>,
    /// Laws that the numbers of any run must obey.
    pub checks: Vec<Check>,
}

/// What was asked of the engine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Scenario {
    pub name: String,
    /// Requests kept in flight (closed loop); null in an open loop.
    pub concurrency: Option<usize>,
    /// Requests at most; null: as many as come in `duration_s`.
    pub requests: Option<usize>,
    /// Seconds for which requests come; null where their number is the only bound.
    #[serde(default)]
    pub duration_s: Option<f64>,
    /// What became of the requests in flight when that time was over; null without such a time.
    #[serde(default)]
    pub at_end: Option<AtEnd>,
    /// Prompt tokens of each request; null where they differ.
    pub input_len: Option<usize>,
    /// Output tokens asked of each request; null where they differ.
    pub output_len: Option<usize>,
    /// What lengths that differ were drawn from, as the flag wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_distribution: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_distribution: Option<String>,
    /// Tokens that prompts of a group begin with, in `input_len`, and the number of groups.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub prefix_len: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_groups: Option<usize>,
    /// Turns of each conversation, whose prompts grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<usize>,
    /// From the end of an answer to the arrival of the next turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think_time_s: Option<f64>,
    /// Arrivals a second (open loop), of a rate that changes the mean; null in a closed loop.
    pub request_rate: Option<f64>,
    /// How the rate changes over `duration_s`, as it was asked for; null of a constant one.
    #[serde(default)]
    pub rate_course: Option<String>,
    /// Requests in flight at most (open loop); null without a cap.
    #[serde(default)]
    pub max_concurrency: Option<usize>,
    /// Shape of the gamma distribution of arrivals; 1 is Poisson; null in a closed loop.
    pub burstiness: Option<f64>,
    /// Requests played before the window and left out of it.
    pub warmup: usize,
    /// Which play of this scenario, from 0.
    pub repeat: usize,
    pub repeats: usize,
    /// Seconds after arrival at which a request fails; null without a limit.
    pub request_timeout_s: Option<f64>,
    /// Which requests are given up, and when; null: none is.
    #[serde(default)]
    pub cancel: Option<Cancel>,
    /// The run ends when the queue keeps growing.
    #[serde(default)]
    pub stop_when_saturated: bool,
    /// How tokens are drawn; null: the most likely one.
    #[serde(default)]
    pub sampling: Option<Drawing>,
    /// End tokens end the output before `output_len`.
    pub stop_at_eos: bool,
    /// File the requests were read from.
    pub dataset: Option<String>,
    /// That its arrival times were multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_scale: Option<f64>,
    pub goodput: Option<Slo>,
    /// Of the machine, US dollars an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<f64>,
}

fn is_zero(tokens: &usize) -> bool {
    *tokens == 0
}

impl Scenario {
    /// Prompt tokens in words: their number, or what they were drawn from.
    pub fn input_words(&self) -> Option<String> {
        if let Some(tokens) = self.input_len {
            return Some(tokens.to_string());
        }
        let mut words = self.input_distribution.clone()?;
        if let Some(turns) = self.turns {
            words = format!("{turns} turns of {words}");
        }
        match self.prefix_len {
            0 => Some(words),
            shared => Some(format!("{shared} + {words}")),
        }
    }

    /// As [`Self::input_words`], of the output.
    pub fn output_words(&self) -> Option<String> {
        let fixed = self.output_len.map(|tokens| tokens.to_string());
        fixed.or_else(|| self.output_distribution.clone())
    }

    /// Whichever its repeat.
    pub fn unrepeated(&self) -> Self {
        Self {
            repeat: 0,
            ..self.clone()
        }
    }
}

/// Service-level objective of one request, milliseconds; every bound given must hold.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Slo {
    pub ttft_ms: Option<f64>,
    pub tpot_ms: Option<f64>,
    pub e2el_ms: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub id: RequestId,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// The figures compared, or the first offender.
    pub detail: String,
}

/// The spread of one scenario's repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RepeatSummary {
    pub scenario: String,
    pub concurrency: Option<usize>,
    /// Runs taken in.
    pub runs: usize,
    /// By metric name; a metric that some run lacks is left out.
    pub metrics: BTreeMap<String, Spread>,
}

/// Mean of repeats with its 95 % confidence interval (Student's t).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    pub mean: f64,
    /// Sample standard deviation.
    pub std: f64,
    /// `std / mean`; null when the mean is 0.
    pub cv: Option<f64>,
    pub ci95_low: f64,
    pub ci95_high: f64,
}
