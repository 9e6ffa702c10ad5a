//! A load as it is asked for: how requests come, what they hold, and how they are counted.

use std::path::PathBuf;
use std::time::Duration;

use derive_setters::Setters;

use super::scenario::Preset;
use crate::ground::results::Slo;
use crate::session::{LARGEST_COUNT, SessionError, Wish};

/// A load to play. Without any field it is the quick scenario: 2 requests one at a time, then 16 with 8 in flight, 100
/// tokens in and 32 out.
///
/// ```
/// use candlepower::LoadOptions;
///
/// let load = LoadOptions::default().concurrency([4]).requests([16]).output_len(8);
/// assert_eq!(load.warmup, 1);
/// ```
#[derive(Debug, Clone, PartialEq, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Named loads; not with `concurrency` or `request_rate`.
    pub scenario: Option<Preset>,
    /// Requests in flight, one number for each run.
    #[setters(into)]
    pub concurrency: Vec<usize>,
    /// Requests of each run; a single number repeats.
    #[setters(into)]
    pub requests: Vec<usize>,
    /// Open loop: requests a second, however busy the engine is, one number for each run; infinite: all at once.
    #[setters(into)]
    pub request_rate: Vec<f64>,
    /// With `request_rate`: requests in flight at most; the others are sent as these end.
    pub max_concurrency: Option<usize>,
    /// Shape of the gaps between arrivals: 1 is Poisson, below 1 bursts.
    pub burstiness: f64,
    /// Prompt tokens; `None`: 100.
    pub input_len: Option<usize>,
    /// Output tokens, exact unless `stop_at_eos`; `None`: 32, 601 in the report's scenarios.
    pub output_len: Option<usize>,
    /// The same text for every request.
    #[setters(into)]
    pub prompt: Option<String>,
    /// A file of requests, one JSON object a line.
    #[setters(into)]
    pub dataset: Option<PathBuf>,
    /// An output ends at the model's end token.
    pub stop_at_eos: bool,
    /// Short requests before the window opens; they are not counted.
    pub warmup: usize,
    /// Times that every run is played.
    pub repeats: usize,
    /// From its arrival to the time at which a request fails.
    pub request_timeout: Option<Duration>,
    /// Limits that a good request keeps.
    pub goodput: Option<Slo>,
    /// Of the machine, US dollars an hour.
    pub price_per_hour: Option<f64>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            scenario: None,
            concurrency: Vec::new(),
            requests: Vec::new(),
            request_rate: Vec::new(),
            max_concurrency: None,
            burstiness: 1.0,
            input_len: None,
            output_len: None,
            prompt: None,
            dataset: None,
            stop_at_eos: false,
            warmup: 1,
            repeats: 1,
            request_timeout: None,
            goodput: None,
            price_per_hour: None,
        }
    }
}

impl LoadOptions {
    /// That every number is one that a run could have, and that the load is asked for in one way.
    ///
    /// # Errors
    /// The first that is not, by the name of its flag.
    pub fn check(&self) -> Result<(), SessionError> {
        let lists = [
            ("concurrency", &self.concurrency),
            ("requests", &self.requests),
        ];
        let listed = lists.iter().flat_map(|(flag, values)| {
            let values = values.iter();
            values.map(move |&value| (*flag, value, 1))
        });
        let single = [
            ("max-concurrency", self.max_concurrency, 1),
            ("input-len", self.input_len, 1),
            ("output-len", self.output_len, 1),
            ("warmup", Some(self.warmup), 0),
            ("repeats", Some(self.repeats), 1),
        ];
        let single = single.into_iter();
        let single = single.filter_map(|(flag, value, least)| Some((flag, value?, least)));
        for (flag, value, least) in listed.chain(single) {
            if !(least..=LARGEST_COUNT).contains(&value) {
                return Err(Wish::OutOfRange {
                    flag,
                    value: value.to_string(),
                    rule: format!("from {least} to {LARGEST_COUNT}"),
                }
                .into());
            }
        }
        let ways = [
            ("--scenario", self.scenario.is_some()),
            ("--concurrency", !self.concurrency.is_empty()),
            ("--request-rate", !self.request_rate.is_empty()),
        ];
        let mut asked = ways.iter().filter(|(_, given)| *given).map(|(way, _)| *way);
        match (asked.next(), asked.next()) {
            (Some(one), Some(other)) => Err(Wish::Load(format!(
                "{one} and {other} both say how requests come; give one of them"
            ))
            .into()),
            _ if self.max_concurrency.is_some() && self.request_rate.is_empty() => {
                Err(Wish::Load(
                    "--max-concurrency bounds --request-rate, which is not there; without a rate use --concurrency"
                        .to_owned(),
                )
                .into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_no_run_could_have_is_refused_by_name() {
        let load = LoadOptions::default;
        assert!(load().check().is_ok());
        let bad = [
            (load().concurrency([4, 0]), "--concurrency 0"),
            (load().requests([0]), "--requests 0"),
            (load().warmup(LARGEST_COUNT + 1), "--warmup"),
            (load().repeats(0), "--repeats 0"),
            (
                load().concurrency([1]).request_rate([2.0]),
                "--concurrency and --request-rate",
            ),
            (load().max_concurrency(2), "--max-concurrency"),
        ];
        for (load, word) in bad {
            let error = load.check().unwrap_err();
            assert!(
                error.is_usage() && error.to_string().contains(word),
                "{error}"
            );
        }
    }
}
