//! Where the time before the first request went.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Seconds of the start by what took them. A null has its reason in `not_observed`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StartUp {
    /// From the first look at the weights until the engine was ready; what the parts leave of it went into opening
    /// devices and connecting ranks.
    pub total_s: Option<f64>,
    /// Weights read and laid out for the kernels, by the rank that took longest.
    pub load_s: Option<f64>,
    /// The same rank's host waiting for copies of them to its GPU, which go on while the next are read.
    pub upload_s: Option<f64>,
    /// The largest steps, run once.
    pub warm_up_s: Option<f64>,
    /// Decode steps kept as CUDA graphs.
    pub capture_s: Option<f64>,
    pub not_observed: BTreeMap<String, String>,
}

impl StartUp {
    /// Without these parts, each with its reason.
    pub fn without(parts: &[(&str, &str)]) -> Self {
        let reasons = parts.iter();
        let reasons = reasons.map(|(part, reason)| ((*part).to_owned(), (*reason).to_owned()));
        Self {
            not_observed: reasons.collect(),
            ..Self::default()
        }
    }
}
