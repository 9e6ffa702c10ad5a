//! A run of another tool while its file is read: figures that mean what ours do go under our names, the others
//! beside them.

use serde_json::{Map, Value};

use super::value::count;
use crate::ground::results::{
    Check, ClientMode, Figure, Metrics, ReferenceHardware, ReferenceRun, ThroughputDefinition,
};
use crate::reference::rules::{self, STEP};
use crate::reference::short_name;

/// Part by which figures that follow from each other may differ: they were computed in doubles.
pub const EXACT: f64 = 1e-6;
/// The same of figures that were rounded to some digits.
pub const ROUNDED: f64 = 1e-2;

/// Metrics of the source report that are whole.
const COUNTS: [&str; 3] = [
    "successful_requests",
    "failed_requests",
    "total_tokens_generated",
];
/// Half of the last digit of figures that are printed with two decimals.
const PRINTED: f64 = 0.005;
const ABSENT: &str = "not in the file";
const NO_SUCCESS: &str = "no request succeeded";
const UNKNOWN_MODEL: &str = "unknown model";

/// How a tool reads percentiles off its sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Percentiles {
    Linear,
    Step,
}

#[derive(Debug)]
pub struct Draft {
    pub run: ReferenceRun,
    percentiles: Percentiles,
    /// Besides a part of it, by what a figure may differ from what others make it.
    slack: f64,
}

impl Draft {
    pub fn new(tool: &str, source: &str, percentiles: Percentiles) -> Self {
        let run = ReferenceRun {
            source: source.to_owned(),
            tool: Some(tool.to_owned()),
            backend: tool.to_owned(),
            hardware: ReferenceHardware {
                name: "unknown hardware".to_owned(),
                ..ReferenceHardware::default()
            },
            ..ReferenceRun::default()
        };
        Self {
            run,
            percentiles,
            slack: 0.0,
        }
    }

    /// The same of a text whose figures have two decimals.
    pub fn printed(self) -> Self {
        Self {
            slack: PRINTED,
            ..self
        }
    }

    /// A figure under our name, as the tool defines it.
    pub fn map(&mut self, name: &str, value: Option<f64>, definition: &str) {
        let Some(value) = value else {
            return;
        };
        let is_step = self.percentiles == Percentiles::Step && rules::is_percentile(name);
        let more = if is_step { STEP } else { "" };
        let definition = format!("{definition}{more}");
        let figure = Figure { value, definition };
        self.run.figures.insert(name.to_owned(), figure);
    }

    /// A figure that means what ours of that name does.
    pub fn ours(&mut self, name: &str, value: Option<f64>) {
        self.map(name, value, rules::ours(name));
    }

    /// A figure that is none of ours, under the tool's own name.
    pub fn beside(&mut self, name: &str, value: Option<f64>, definition: &str) {
        if let Some(value) = value {
            let definition = definition.to_owned();
            let figure = Figure { value, definition };
            self.run.beside.insert(name.to_owned(), figure);
        }
    }

    pub fn figure(&self, name: &str) -> Option<f64> {
        self.run.figures.get(name).map(|figure| figure.value)
    }

    /// That a stated figure is what others of the file make it.
    pub fn check(&mut self, law: &str, stated: Option<f64>, computed: Option<f64>, part: f64) {
        let Some((stated, computed)) = stated.zip(computed).filter(|(_, c)| c.is_finite()) else {
            return;
        };
        let scale = stated.abs().max(computed.abs());
        self.run.checks.push(Check {
            name: law.to_owned(),
            ok: (stated - computed).abs() <= part * scale + self.slack,
            detail: format!("{stated} stated, {computed} computed"),
        });
    }

    /// The laws of any run: counts over the duration are the rates.
    pub fn check_rates(&mut self, part: f64) {
        let duration = self.figure("duration");
        let over = |count: Option<f64>| Some(count? / duration?);
        let (input, output) = (
            self.figure("total_input_tokens"),
            self.figure("total_output_tokens"),
        );
        let both = input.zip(output).map(|(a, b)| a + b);
        for (law, name, count) in [
            (
                "requests / duration = request_throughput",
                "request_throughput",
                self.figure("completed"),
            ),
            (
                "input tokens / duration = input_throughput",
                "input_throughput",
                input,
            ),
            (
                "output tokens / duration = output_throughput",
                "output_throughput",
                output,
            ),
            (
                "all tokens / duration = total_token_throughput",
                "total_token_throughput",
                both,
            ),
        ] {
            let stated = self.figure(name);
            self.check(law, stated, over(count), part);
        }
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.run.notes.push(note.into());
    }

    /// Lengths as the tokens and requests of the file make them, where they are known.
    fn lengths(&mut self) {
        let completed = self.figure("completed").filter(|count| *count > 0.0);
        let each = |tokens: Option<f64>| Some(tokens? / completed?);
        let (input, output) = (
            each(self.figure("total_input_tokens")),
            each(self.figure("total_output_tokens")),
        );
        let run = &mut self.run;
        let whole = |tokens: f64| count(tokens.round()).map(|tokens| tokens as usize);
        run.tokens_per_request = run.tokens_per_request.or(output);
        run.input_len = run.input_len.or(input.and_then(whole));
        run.output_len = run.output_len.or(run.tokens_per_request.and_then(whole));
    }

    /// The run, its nulls explained and what does not add up said.
    pub fn finish(mut self) -> ReferenceRun {
        if self.figure("completed") == Some(0.0) {
            self.withdraw();
        }
        self.lengths();
        self.restate();
        let run = &mut self.run;
        run.client_mode = match run.figures.keys().any(|name| name.ends_with("_ttft_ms")) {
            true => ClientMode::Streaming,
            false => ClientMode::Unknown,
        };
        if run.metrics.overall_total_throughput.is_some() {
            run.throughput_definition = Some(ThroughputDefinition::Output);
        }
        let why = match run.failure {
            Some(_) => NO_SUCCESS,
            None => ABSENT,
        };
        let entries = run.metrics.entries().into_iter();
        let nulls = entries.filter(|(_, value)| value.is_null());
        run.not_observed = nulls.map(|(name, _)| (name, why.to_owned())).collect();
        let broken = run.checks.iter().filter(|check| !check.ok);
        let broken: Vec<String> = broken
            .map(|check| format!("does not add up: {}: {}", check.name, check.detail))
            .collect();
        run.notes.extend(broken);
        if run.model.is_empty() {
            run.model = UNKNOWN_MODEL.to_owned();
        }
        let load = match (run.concurrency, run.request_rate) {
            (Some(concurrency), _) => format!("c{concurrency}"),
            (None, Some(rate)) => format!("{rate}-per-s"),
            (None, None) => "open".to_owned(),
        };
        if run.name.is_empty() {
            let tool = run.tool.as_deref().unwrap_or_default().replace(' ', "-");
            run.name = format!("{tool}/{}/{load}", short_name(&run.model));
        }
        self.run
    }

    /// Zeros that stand for what nobody saw: no request succeeded.
    fn withdraw(&mut self) {
        let figures = std::mem::take(&mut self.run.figures);
        for (name, figure) in figures {
            match ["completed", "failed", "duration"].contains(&&*name) {
                true => drop(self.run.figures.insert(name, figure)),
                false => drop(self.run.beside.insert(name, figure)),
            }
        }
        self.run.failure = Some(NO_SUCCESS.to_owned());
        self.note("no request succeeded: the file's figures of requests stand for nothing");
    }

    /// The metrics of the source report that the figures are.
    fn restate(&mut self) {
        let mut stated = Map::new();
        for name in Metrics::default().entries().keys() {
            let value = rules::twin(name)
                .and_then(|(twin, unit)| Some(self.run.figures.get(twin)?.value / unit));
            let value = match name.as_str() {
                "output_tokens_per_sec" | "overall_total_throughput" => self.output_rate(value),
                _ => value,
            };
            // A count that is none, such as half a request, is in `figures` alone.
            let is_count = COUNTS.contains(&&**name);
            let number = value.and_then(|value| match count(value) {
                Some(count) => Some(Value::from(count)),
                None => (!is_count).then(|| Value::from(value)),
            });
            stated.insert(name.clone(), number.unwrap_or_default());
        }
        let mut metrics: Metrics =
            serde_json::from_value(Value::Object(stated)).unwrap_or_default();
        let totals = (metrics.successful_requests, metrics.failed_requests);
        metrics.total_requests = self.run.requests.or(match totals {
            (Some(good), Some(bad)) => good.checked_add(bad),
            _ => None,
        });
        metrics.success_rate = metrics
            .successful_requests
            .zip(metrics.total_requests)
            .filter(|(_, all)| *all > 0)
            .map(|(good, all)| 100.0 * good as f64 / all as f64);
        self.run.requests = metrics.total_requests.or(metrics.successful_requests);
        if !self.run.model.is_empty() {
            metrics.model = Some(self.run.model.clone());
        }
        self.run.metrics = metrics;
    }

    /// Output tokens over the duration, where the tool's own rate is something else.
    fn output_rate(&self, stated: Option<f64>) -> Option<f64> {
        let figures = &self.run.figures;
        let own = figures.get("output_throughput");
        if own.is_none_or(|figure| figure.definition == rules::OUTPUT_RATE) {
            return stated;
        }
        // Over a part of the run its tokens would be too many.
        let whole = |figure: &&Figure| figure.definition == rules::DURATION && figure.value > 0.0;
        let duration = figures.get("duration").filter(whole)?.value;
        Some(self.figure("total_output_tokens")? / duration)
    }
}
