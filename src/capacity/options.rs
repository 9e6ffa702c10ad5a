//! A search as it is asked for.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::objective::{Objective, PERCENTILES};
use crate::bench::LoadOptions;
use crate::session::{SessionError, Wish};
use crate::workload::Lengths;

/// What of the load is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// Requests in flight.
    #[default]
    Concurrency,
    /// Requests a second, however busy the engine is.
    Rate,
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Concurrency => "concurrency",
            Self::Rate => "rate",
        })
    }
}

/// The highest load within an objective is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct CapacityOptions {
    pub objective: Objective,
    pub search: Search,
    /// The lowest load that is of interest; `None`: one request in flight, or a rate far below one.
    pub min: Option<f64>,
    /// The highest; `None`: 1,024 requests in flight, or a rate that no machine serves.
    pub max: Option<f64>,
    /// Requests of each load; `None`: as many as the load and the percentile need.
    pub requests: Option<usize>,
    /// Plays of a load beside the edge, of which most decide.
    pub repeats: usize,
    /// Play the load that failed with each limit doubled.
    pub raise: bool,
    /// Shape of the gaps between arrivals, of a rate.
    pub burstiness: f64,
    /// What requests hold.
    pub input_len: Option<Lengths>,
    pub output_len: Option<Lengths>,
    pub dataset: Option<PathBuf>,
    /// Requests before each window.
    pub warmup: usize,
}

impl Default for CapacityOptions {
    fn default() -> Self {
        Self {
            objective: Objective::default(),
            search: Search::Concurrency,
            min: None,
            max: None,
            requests: None,
            repeats: 3,
            raise: true,
            burstiness: 1.0,
            input_len: None,
            output_len: None,
            dataset: None,
            warmup: 1,
        }
    }
}

impl CapacityOptions {
    /// # Errors
    /// The objective bounds nothing, or a bound of the search is no load.
    pub fn check(&self) -> Result<(), SessionError> {
        let wrong = |text: String| Err(Wish::Load(text).into());
        if !PERCENTILES.contains(&self.objective.percentile) {
            return wrong(format!(
                "--percentile p{}: it must be one of p50, p90, p95 and p99",
                self.objective.percentile
            ));
        }
        if self.objective.is_empty() {
            return wrong(
                "--slo bounds nothing; write limits in milliseconds, such as ttft:500,tpot:50"
                    .to_owned(),
            );
        }
        let bounds = [("min", self.min), ("max", self.max)];
        for (flag, value) in bounds {
            let Some(value) = value else { continue };
            let is_whole = self.search == Search::Rate || value.fract() == 0.0 && value >= 1.0;
            if !(value > 0.0 && value.is_finite() && is_whole) {
                return wrong(format!(
                    "--{flag} {value}: it must be {}",
                    match self.search {
                        Search::Concurrency => "a whole number of requests in flight, from 1",
                        Search::Rate => "a positive number of requests a second",
                    }
                ));
            }
        }
        match (self.min, self.max) {
            (Some(min), Some(max)) if min > max => wrong(format!(
                "--min {min} is above --max {max}; give the lower one as --min"
            )),
            _ => Ok(()),
        }
    }

    /// All but how the requests come.
    pub(super) fn content(&self) -> LoadOptions {
        LoadOptions {
            input_len: self.input_len,
            output_len: self.output_len,
            dataset: self.dataset.clone(),
            burstiness: self.burstiness,
            warmup: self.warmup,
            goodput: self.objective.goodput_percent.map(|_| self.objective.slo),
            ..LoadOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::results::Slo;

    #[test]
    fn a_search_that_cannot_be_is_refused_by_its_flag() {
        let good = CapacityOptions {
            objective: Objective {
                slo: Slo {
                    tpot_ms: Some(50.0),
                    ..Slo::default()
                },
                ..Objective::default()
            },
            ..CapacityOptions::default()
        };
        assert!(good.check().is_ok());
        let with = |change: &dyn Fn(&mut CapacityOptions)| {
            let mut options = good.clone();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(with(&|o| o.objective.slo = Slo::default()).contains("--slo"));
        assert!(with(&|o| o.objective.percentile = 42).contains("--percentile p42"));
        assert!(with(&|o| o.min = Some(0.5)).contains("--min 0.5"));
        assert!(with(&|o| o.max = Some(0.0)).contains("--max 0"));
        assert!(with(&|o| (o.min, o.max) = (Some(8.0), Some(4.0))).contains("--min 8"));
        let rate = CapacityOptions {
            search: Search::Rate,
            min: Some(0.5),
            ..good.clone()
        };
        assert!(rate.check().is_ok());
    }
}
