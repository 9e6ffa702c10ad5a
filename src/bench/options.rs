//! A load as it is asked for: how requests come, what they hold, and how they are counted.

use std::path::PathBuf;
use std::time::Duration;

use derive_setters::Setters;

use super::scenario::Preset;
use crate::ground::results::{AtEnd, Cancel, Slo};
use crate::session::{LARGEST_COUNT, SessionError, Wish};
use crate::workload::{Lengths, Rate};

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
    /// For so long requests are sent: without `requests` as many as come.
    pub duration: Option<Duration>,
    /// What becomes of the requests in flight then.
    pub at_end: AtEnd,
    /// Open loop: requests a second, however busy the engine is, one rate for each run; infinite: all at once.
    #[setters(skip)]
    pub request_rate: Vec<Rate>,
    /// End an open loop when its queue keeps growing.
    pub stop_when_saturated: bool,
    /// With `request_rate`: requests in flight at most; the others are sent as these end.
    pub max_concurrency: Option<usize>,
    /// Shape of the gaps between arrivals: 1 is Poisson, below 1 bursts.
    pub burstiness: f64,
    /// Prompt tokens, of each or drawn; `None`: 100.
    #[setters(into)]
    pub input_len: Option<Lengths>,
    /// Output tokens, exact unless `stop_at_eos`; `None`: 32, 601 in the report's scenarios.
    #[setters(into)]
    pub output_len: Option<Lengths>,
    /// Tokens that prompts of a group begin with, before the `input_len` of their own; 0: they share nothing.
    pub prefix_len: usize,
    /// Groups of prompts that begin alike.
    pub prefix_groups: usize,
    /// Requests are turns of conversations of so many: each prompt is all that was said before and `input_len` new tokens. Of
    /// a dataset that has conversations the first so many turns of each.
    /// With them `concurrency` and `request_rate` are of conversations; 1: requests stand alone.
    pub turns: usize,
    /// From the end of an answer to the arrival of the next turn.
    pub think_time: Duration,
    /// The same text for every request.
    #[setters(into)]
    pub prompt: Option<String>,
    /// A file of requests: JSON objects, or a table in CSV.
    #[setters(into)]
    pub dataset: Option<PathBuf>,
    /// That the dataset's arrival times are multiplied by: 0.5 plays it in half of the time.
    pub time_scale: f64,
    /// An output ends at the model's end token.
    pub stop_at_eos: bool,
    /// Short requests before the window opens; they are not counted.
    pub warmup: usize,
    /// Times that every run is played.
    pub repeats: usize,
    /// 0 and `None` take the most likely token; above, tokens are drawn with the engine's seed.
    pub temperature: Option<f32>,
    /// With a temperature: only so many of the most likely tokens; 0 is all.
    pub top_k: Option<usize>,
    /// With a temperature: only the most likely tokens that make up this probability.
    pub top_p: Option<f32>,
    /// From its arrival to the time at which a request fails.
    pub request_timeout: Option<Duration>,
    /// Requests that are given up by whoever sent them.
    pub cancel: Option<Cancel>,
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
            duration: None,
            at_end: AtEnd::default(),
            request_rate: Vec::new(),
            stop_when_saturated: false,
            max_concurrency: None,
            burstiness: 1.0,
            input_len: None,
            output_len: None,
            prefix_len: 0,
            prefix_groups: 1,
            turns: 1,
            think_time: Duration::ZERO,
            prompt: None,
            dataset: None,
            time_scale: 1.0,
            stop_at_eos: false,
            warmup: 1,
            repeats: 1,
            temperature: None,
            top_k: None,
            top_p: None,
            request_timeout: None,
            cancel: None,
            goodput: None,
            price_per_hour: None,
        }
    }
}

impl LoadOptions {
    /// Open loop: requests a second, one rate for each run.
    ///
    /// ```
    /// use candlepower::LoadOptions;
    /// use std::time::Duration;
    ///
    /// let load = LoadOptions::default().request_rate([0.5, 2.0]).requests([16]);
    /// let ramp: candlepower::Rate = "ramp:1-20".parse().unwrap();
    /// let load = LoadOptions::default().request_rate([ramp]).duration(Duration::from_secs(60));
    /// ```
    pub fn request_rate(mut self, rates: impl IntoIterator<Item = impl Into<Rate>>) -> Self {
        self.request_rate = rates.into_iter().map(Into::into).collect();
        self
    }

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
            ("input-len", self.input_len.map(|lengths| lengths.most()), 1),
            (
                "output-len",
                self.output_len.map(|lengths| lengths.most()),
                1,
            ),
            ("prefix-len", Some(self.prefix_len), 0),
            ("prefix-groups", Some(self.prefix_groups), 1),
            ("turns", Some(self.turns), 1),
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
        if self.prefix_len > 0 && (self.prompt.is_some() || self.dataset.is_some()) {
            return Err(Wish::Load(
                "--prefix-len is of prompts that are made up; leave --prompt and --dataset out"
                    .to_owned(),
            )
            .into());
        }
        if self.turns > 1 && self.prompt.is_some() {
            return Err(Wish::Load(
                "--turns is of conversations, that are made up or a dataset's; leave --prompt out"
                    .to_owned(),
            )
            .into());
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
            _ => self.check_pacing(),
        }
    }

    /// What of the ways to end a run, and to draw tokens, goes with what.
    fn check_pacing(&self) -> Result<(), SessionError> {
        let wrong = |text: &str| Err(Wish::Load(text.to_owned()).into());
        let is_greedy = self
            .temperature
            .is_none_or(|temperature| temperature <= 0.0);
        let changes = self.request_rate.iter().any(Rate::changes);
        if self.duration.is_none() && self.at_end != AtEnd::default() {
            return wrong(
                "--at-end says what happens after --duration, which is not there; give one",
            );
        }
        if self.duration.is_none() && changes {
            return wrong(
                "--request-rate changes over the time of the run; give it with --duration SECONDS",
            );
        }
        if self.stop_when_saturated && self.request_rate.is_empty() && self.dataset.is_none() {
            return wrong(
                "--stop-when-saturated watches the queue of an open loop; give --request-rate",
            );
        }
        if self.stop_when_saturated && self.max_concurrency.is_some() {
            return wrong(
                "--stop-when-saturated: --max-concurrency holds the load back, so no queue can grow; leave one of them out",
            );
        }
        if is_greedy && (self.top_k.is_some() || self.top_p.is_some()) {
            return wrong(
                "--top-k and --top-p narrow what --temperature draws from; give a temperature above 0",
            );
        }
        Ok(())
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
            (load().turns(0), "--turns 0"),
            (load().turns(2).prompt("a"), "--turns"),
            (load().prefix_len(2).dataset("a"), "--prefix-len"),
            (load().prefix_groups(0), "--prefix-groups 0"),
            (load().at_end(AtEnd::Cut), "--duration"),
            (
                load().request_rate([Rate::Ramp(vec![1.0, 2.0])]),
                "--duration",
            ),
            (
                load()
                    .request_rate([1.0])
                    .max_concurrency(2)
                    .stop_when_saturated(true),
                "--stop-when-saturated",
            ),
            (load().top_k(4), "--temperature"),
            (load().temperature(0.0).top_p(0.9), "--temperature"),
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
