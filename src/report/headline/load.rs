//! A load, played once or more.

use serde_json::{Map, Value};

use crate::ground::results::{Kind, Results, Run, Scenario};
use crate::metrics::quantile::moments;
use crate::metrics::repeats;
use crate::report::columns;

pub(super) struct Load<'a> {
    /// `c8`, `2 req/s`.
    pub name: String,
    /// What its line must say of it besides: `predicted`, `partial`.
    pub words: Vec<&'static str>,
    pub plays: Vec<&'a Run>,
    /// The source report's and the extended set of each play, which share no name.
    values: Vec<Map<String, Value>>,
}

/// In the order played.
pub(super) fn loads(results: &Results) -> Vec<Load<'_>> {
    let mut loads: Vec<Load> = repeats::plays(&results.runs)
        .into_iter()
        .map(|plays| Load::of(plays, results.kind))
        .collect();
    // Loads may differ in their number of requests alone.
    let names: Vec<String> = loads.iter().map(|load| load.name.clone()).collect();
    for load in &mut loads {
        if names.iter().filter(|name| **name == load.name).count() > 1 {
            let requests = load.plays[0].scenario.requests;
            let requests = requests.map(|requests| format!(" of {requests}"));
            load.name += &requests.unwrap_or_default();
        }
    }
    // A run that is cut short is the last.
    if let Some(run) = results.runs.last().filter(|_| results.partial) {
        let cut = loads.iter_mut().filter(|load| load.has(run));
        cut.for_each(|load| load.words.push("partial"));
    }
    loads
}

fn name(scenario: &Scenario) -> String {
    let course = &scenario.rate_course;
    match (scenario.concurrency, scenario.request_rate) {
        (Some(concurrency), _) => format!("c{concurrency}"),
        (None, Some(rate)) => match course {
            Some(course) => format!("{course} req/s"),
            None => format!("{rate} req/s"),
        },
        (None, None) => scenario.name.clone(),
    }
}

fn entries(run: &Run) -> Map<String, Value> {
    let mut all = run.metrics.entries();
    all.extend(run.extended.entries());
    all
}

impl<'a> Load<'a> {
    fn of(plays: Vec<&'a Run>, kind: Kind) -> Self {
        let kind = (kind != Kind::Measured).then(|| columns::kind(kind));
        Self {
            name: name(&plays[0].scenario),
            words: kind.into_iter().collect(),
            values: plays.iter().map(|run| entries(run)).collect(),
            plays,
        }
    }

    /// The very run, not one that is equal.
    pub fn has(&self, run: &Run) -> bool {
        self.plays.iter().any(|play| std::ptr::eq(*play, run))
    }

    /// A metric in every play; `None` where one lacks it.
    pub fn each(&self, metric: &str) -> Option<Vec<f64>> {
        let values = self.values.iter();
        values
            .map(|entries| entries.get(metric)?.as_f64())
            .collect()
    }

    /// Mean over the plays.
    pub fn mean(&self, metric: &str) -> Option<f64> {
        moments(&self.each(metric)?).map(|(mean, _)| mean)
    }

    /// Why some play lacks a metric.
    pub fn reason(&self, metric: &str) -> Option<&str> {
        let mut reasons = self.plays.iter().map(|run| run.not_observed.get(metric));
        reasons.find_map(|reason| reason.map(String::as_str))
    }

    pub fn is_uncertain(&self, metric: &str) -> bool {
        let mut low = self
            .plays
            .iter()
            .flat_map(|run| &run.extended.low_confidence);
        low.any(|name| name == metric)
    }

    /// The load, or the one play of it.
    pub fn play_name(&self, run: &Run) -> String {
        match self.plays.len() {
            1 => self.name.clone(),
            _ => format!("{} #{}", self.name, run.scenario.repeat + 1),
        }
    }
}
