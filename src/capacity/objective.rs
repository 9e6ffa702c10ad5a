//! What a load must keep, and whether a run did.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ground::results::{Extended, Run, Slo};

const PERCENT: f64 = 100.0;
/// A queue whose wait grows by more than this, in seconds a second, is one that the machine does not keep up with.
const GROWTH: f64 = 0.1;

/// Percentiles that runs have.
pub const PERCENTILES: [u32; 4] = [50, 90, 95, 99];

/// Limits of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Objective {
    /// Milliseconds: of the percentile, or with `goodput_percent` of each request.
    #[serde(flatten)]
    pub slo: Slo,
    /// Of the three latencies, such as 95.
    pub percentile: u32,
    /// So many of all requests keep every latency, in place of the percentile.
    pub goodput_percent: Option<f64>,
    /// So many of all requests may fail.
    pub error_percent: f64,
    /// The KV cache is never fuller.
    pub kv_percent: Option<f64>,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            slo: Slo::default(),
            percentile: 95,
            goodput_percent: None,
            error_percent: 0.0,
            kv_percent: None,
        }
    }
}

/// One limit held against a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bound {
    /// `ttft`, `tpot`, `e2el`, `goodput`, `errors`, `kv`, `queue`.
    pub name: String,
    /// In the unit of the limit; null: the run has no such figure, and so did not keep the limit.
    pub value: Option<f64>,
    pub limit: f64,
    pub ok: bool,
}

impl Bound {
    fn at_most(name: &str, value: Option<f64>, limit: f64) -> Self {
        Self {
            name: name.to_owned(),
            ok: value.is_some_and(|value| value <= limit),
            value,
            limit,
        }
    }

    /// What stands behind a value, with the space before it.
    pub fn unit(&self) -> &'static str {
        match self.name.as_str() {
            "goodput" | "errors" | "kv" => " %",
            "queue" => " s of wait more each second",
            _ => " ms",
        }
    }

    /// How far the value is beyond the limit: above 1 it does not keep it.
    pub fn excess(&self) -> f64 {
        match (self.value, self.name.as_str()) {
            (None, _) => f64::INFINITY,
            (Some(value), "goodput") => self.limit / value,
            (Some(0.0), _) => 0.0,
            (Some(value), _) => value / self.limit,
        }
    }
}

impl Objective {
    /// It bounds no latency, share or cache.
    pub fn is_empty(&self) -> bool {
        self.slo == Slo::default() && self.kv_percent.is_none()
    }

    /// Every limit against a run, whose queue grew by `growth` seconds a second.
    pub fn bounds(&self, run: &Run, growth: Option<f64>) -> Vec<Bound> {
        let figures = &run.extended;
        let total = (figures.completed + figures.failed) as f64;
        let errors = (total > 0.0).then(|| PERCENT * figures.failed as f64 / total);
        let mut bounds = vec![Bound::at_most("errors", errors, self.error_percent)];
        match self.goodput_percent {
            None => bounds.extend(self.latencies(figures)),
            Some(limit) => {
                let value = figures.goodput_attainment_percent;
                bounds.push(Bound {
                    name: "goodput".to_owned(),
                    ok: value.is_some_and(|value| value >= limit),
                    value,
                    limit,
                });
            }
        }
        let kv = self.kv_percent;
        bounds
            .extend(kv.map(|limit| Bound::at_most("kv", figures.max_kv_occupancy_percent, limit)));
        bounds.extend(growth.map(|growth| Bound::at_most("queue", Some(growth), GROWTH)));
        bounds
    }

    fn latencies(&self, figures: &Extended) -> Vec<Bound> {
        let entries = figures.entries();
        let of = |name: &str| {
            let key = format!("p{}_{name}_ms", self.percentile);
            entries.get(&key).and_then(serde_json::Value::as_f64)
        };
        let limits = [
            ("ttft", self.slo.ttft_ms),
            ("tpot", self.slo.tpot_ms),
            ("e2el", self.slo.e2el_ms),
        ];
        let given = limits.into_iter();
        let bound =
            |(name, limit): (&str, Option<f64>)| Some(Bound::at_most(name, of(name), limit?));
        given.filter_map(bound).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_further_beyond_its_limit_the_greater_the_excess() {
        let late = Bound::at_most("ttft", Some(900.0), 600.0);
        assert!(!late.ok && late.excess() == 1.5);
        let kept = Bound::at_most("errors", Some(0.0), 0.0);
        assert!(kept.ok && kept.excess() == 0.0);
        let none = Bound::at_most("tpot", None, 50.0);
        assert!(!none.ok && none.excess() == f64::INFINITY);
    }
}
