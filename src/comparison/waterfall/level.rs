//! The levels of a waterfall, as its JSON holds them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ground::results::Kind;

/// Value of `Waterfall::schema`. The number changes when a field is renamed or removed.
pub const SCHEMA: &str = "candlepower/waterfall/1";

/// Where the output tokens a second of one run went, from the data sheet down. What levels lost adds up to the difference
/// of the highest and the lowest that was observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waterfall {
    pub schema: String,
    /// Tells the run from the others of its result, such as `c50`.
    pub run: String,
    pub model: String,
    /// As on the command line: `cpu`, `cuda`, `sim:<gpu>`.
    pub device: String,
    /// The processor's or the card's own name.
    pub hardware: String,
    /// Devices that took part.
    pub count: usize,
    /// From the top down.
    pub levels: Vec<Level>,
    /// Results of others that do not stand in it.
    pub left_out: Vec<LeftOut>,
}

impl Waterfall {
    /// The JSON Schema of a waterfall.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Waterfall).to_value()
    }
}

/// Output tokens a second, if nothing below this level cost anything. What a level that was not observed lost is part of
/// what the next one lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    pub name: Name,
    pub definition: String,
    /// Null: it was not observed.
    pub origin: Option<Origin>,
    pub tokens_per_s: Option<f64>,
    /// Less than the observed level above; below 0 where it is more. Null of the highest.
    pub lost: Option<f64>,
    /// That `lost` consists of, the largest first.
    pub parts: Vec<Part>,
    /// What to know of the figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why it was not observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    pub name: String,
    /// Output tokens a second.
    pub lost: f64,
}

/// Another tool's result, and why it is not a level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    pub name: String,
    pub source: String,
    pub reason: String,
}

/// Where a level's figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// On this machine.
    Measured,
    /// Worked out: from a data sheet, a simulated device, or a profile of another batch.
    Predicted,
    /// On a device that stands in for a GPU: no time is a measurement.
    Virtual,
    /// From another tool's result.
    Imported,
}

impl Origin {
    pub fn word(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Predicted => "predicted",
            Self::Virtual => "virtual",
            Self::Imported => "imported",
        }
    }
}

impl From<Kind> for Origin {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Measured => Self::Measured,
            Kind::Predicted => Self::Predicted,
            Kind::Virtual => Self::Virtual,
            Kind::Reference => Self::Imported,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    DataSheet,
    Roof,
    Kernels,
    Steps,
    Batches,
    Host,
    Load,
    Server,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataSheet => "data sheet",
            Self::Roof => "roof",
            Self::Kernels => "kernels",
            Self::Steps => "steps",
            Self::Batches => "batches",
            Self::Host => "host",
            Self::Load => "load",
            Self::Server => "server and client",
        })
    }
}

impl Name {
    pub fn definition(self) -> &'static str {
        match self {
            Self::DataSheet => {
                "full steps that take as long as their bytes or their FLOPs, whichever take longer, at the rates of the data sheet"
            }
            Self::Roof => {
                "the same at the roofs: rates that plain loops reached on this machine; of a simulated card the rates that its model allows a kernel"
            }
            Self::Kernels => {
                "full steps whose operations take as long as in a profile, one after another, by the work of each step"
            }
            Self::Steps => {
                "full steps as long as the executor took: kernels, exchanges, gaps between them"
            }
            Self::Batches => {
                "all steps as long as the executor took. Full are decode steps with 95 % or more of the requests of the fullest; steps that read prompts count as they are"
            }
            Self::Host => {
                "all time in which the engine held a request: scheduling, packing and events besides the executor"
            }
            Self::Load => {
                "the run: output tokens of requests that succeeded over first arrival to last token. Lost here: time without a request, and tokens of requests that failed"
            }
            Self::Server => {
                "what another tool measured of the same model, card and load: its engine, server and client together"
            }
        }
    }
}
