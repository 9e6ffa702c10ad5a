//! Which figures may be divided by each other. Two cells under one name are not the same quantity
//! until their definitions are.

use serde_json::Value;

use super::{rules, same_model};
use crate::ground::results::{ClientMode, Kind, ReferenceRun, ThroughputDefinition};

/// Relative difference of work a request below which rates and latencies of requests compare.
const SAME_WORK: f64 = 0.01;

/// Figures that grow or shrink with the tokens of a request.
const BOUND_TO_LENGTH: [&str; 8] = [
    "requests_per_sec",
    "input_tokens_per_sec",
    "avg_latency",
    "min_latency",
    "max_latency",
    "p90_latency",
    "p95_latency",
    "p99_latency",
];
/// Figures that grow with the number of requests as well.
const BOUND_TO_COUNT: [&str; 5] = [
    "total_requests",
    "successful_requests",
    "failed_requests",
    "total_tokens_generated",
    "total_duration",
];

/// Why two figures have no ratio.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    #[error("{metric} of {run} was not observed: {reason}")]
    NotObserved {
        metric: String,
        run: String,
        reason: String,
    },
    #[error("{metric} is defined as {ours} here and as {theirs} there")]
    Definition {
        metric: String,
        ours: String,
        theirs: String,
    },
    #[error("the models differ: {ours} here, {theirs} there")]
    Model { ours: String, theirs: String },
    #[error("the loads differ: {ours} here, {theirs} there")]
    Load { ours: String, theirs: String },
}

/// Identifies what a run's figure is, such as `overall_total_throughput@input+output`. Different
/// ids are never divided.
pub fn definition(metric: &str, run: &ReferenceRun) -> String {
    let counts = run.throughput_definition;
    let variant = match metric {
        "overall_total_throughput" => match counts {
            Some(ThroughputDefinition::Output) => "output",
            Some(ThroughputDefinition::InputAndOutput) => "input+output",
            None => UNKNOWN,
        },
        // Rows in the manner of `vllm bench` name no statistic, and their publishers print medians
        // elsewhere.
        "avg_first_token_latency" | "avg_tpot"
            if run.kind == Kind::Reference
                && run.client_mode == ClientMode::Streaming
                && counts == Some(ThroughputDefinition::InputAndOutput) =>
        {
            "mean-or-median"
        }
        _ => foreign(metric, run).unwrap_or("report"),
    };
    format!("{metric}@{variant}")
}

/// The definition of another tool's figure, where it is not that of ours.
fn foreign<'a>(metric: &str, run: &'a ReferenceRun) -> Option<&'a str> {
    let name = match rules::twin(metric) {
        // Of a run without figures of its own the report's name says all.
        Some((name, _)) if run.metrics.entries().contains_key(metric) => name,
        _ => metric,
    };
    let is_derived = metric == "output_tokens_per_sec";
    let figure = run.figures.get(name).or_else(|| run.beside.get(name))?;
    (!is_derived && figure.definition != rules::ours(name)).then_some(&*figure.definition)
}

const UNKNOWN: &str = "unknown";

/// Whether the ratio of `metric` between the two runs means anything.
///
/// # Errors
/// Why not, as a sentence for a footnote.
pub fn comparable(metric: &str, ours: &ReferenceRun, theirs: &ReferenceRun) -> Result<(), Reason> {
    observed(metric, ours)?;
    observed(metric, theirs)?;
    if !same_model(&ours.model, &theirs.model) {
        return Err(Reason::Model {
            ours: ours.model.clone(),
            theirs: theirs.model.clone(),
        });
    }
    same_definition(metric, ours, theirs)?;
    same_work(metric, ours, theirs)
}

/// Whether two runs mean the same by a figure, whatever they ran on and with.
///
/// # Errors
/// One has no such figure, or they define it otherwise.
pub fn comparable_figures(
    metric: &str,
    ours: &ReferenceRun,
    theirs: &ReferenceRun,
) -> Result<(), Reason> {
    observed(metric, ours)?;
    observed(metric, theirs)?;
    same_definition(metric, ours, theirs)
}

fn same_definition(metric: &str, ours: &ReferenceRun, theirs: &ReferenceRun) -> Result<(), Reason> {
    let definitions = (definition(metric, ours), definition(metric, theirs));
    if definitions.0 != definitions.1 || definitions.0.ends_with(UNKNOWN) {
        return Err(Reason::Definition {
            metric: metric.to_owned(),
            ours: words(metric, &definitions.0),
            theirs: words(metric, &definitions.1),
        });
    }
    Ok(())
}

/// A definition's id as a reader is told of it.
fn words(metric: &str, id: &str) -> String {
    let variant = id.split_once('@').map_or(id, |(_, variant)| variant);
    let name = rules::twin(metric).map_or(metric, |(name, _)| name);
    match variant {
        "report" => rules::told(name).to_owned(),
        "output" => rules::OUTPUT_RATE.to_owned(),
        "input+output" => rules::TOTAL_RATE.to_owned(),
        "mean-or-median" => "a mean or a median, which its source does not say".to_owned(),
        UNKNOWN => "its source does not say".to_owned(),
        stated => stated.to_owned(),
    }
}

fn observed(metric: &str, run: &ReferenceRun) -> Result<(), Reason> {
    if value(metric, run).is_some() {
        return Ok(());
    }
    let reason = run.not_observed.get(metric).cloned();
    Err(Reason::NotObserved {
        metric: metric.to_owned(),
        run: run.name.clone(),
        reason: reason.unwrap_or_else(|| "not one of its metrics".to_owned()),
    })
}

/// Unknown ones say nothing.
pub(super) fn same_rate(rates: (Option<f64>, Option<f64>)) -> bool {
    let (Some(ours), Some(theirs)) = rates else {
        return true;
    };
    (ours - theirs).abs() <= SAME_WORK * theirs.abs()
}

/// A run's figure, from its metrics, its extended set, or its tool's figures.
pub fn value(metric: &str, run: &ReferenceRun) -> Option<f64> {
    let number = |value: &Value| value.as_f64();
    let extended = || run.extended.as_ref().map(|extended| extended.entries());
    let own = run.metrics.entries();
    if let Some(value) = own.get(metric) {
        return number(value);
    }
    let figure = run.figures.get(metric).or_else(|| run.beside.get(metric));
    let figure = figure.map(|figure| figure.value);
    figure.or_else(|| extended()?.get(metric).and_then(number))
}

fn same_work(metric: &str, ours: &ReferenceRun, theirs: &ReferenceRun) -> Result<(), Reason> {
    let differ = |ours: String, theirs: String| Err(Reason::Load { ours, theirs });
    let rates = (ours.request_rate, theirs.request_rate);
    if ours.concurrency != theirs.concurrency || !same_rate(rates) {
        let load = |run: &ReferenceRun| match (run.concurrency, run.request_rate) {
            (Some(concurrency), None) => format!("{concurrency} in flight"),
            (Some(limit), Some(rate)) => format!("{rate} requests a second, {limit} in flight"),
            (None, Some(rate)) => format!("{rate} requests a second"),
            (None, None) => "an open loop".to_owned(),
        };
        return differ(load(ours), load(theirs));
    }
    let counted = BOUND_TO_COUNT.contains(&metric);
    if counted && ours.requests != theirs.requests {
        let requests = |run: &ReferenceRun| match run.requests {
            Some(requests) => format!("{requests} requests"),
            None => "an unknown number of requests".to_owned(),
        };
        return differ(requests(ours), requests(theirs));
    }
    let prompts = |run: &ReferenceRun| run.input_len.map(|tokens| tokens as f64);
    let lengths = [
        ("prompt", prompts(ours), prompts(theirs)),
        ("output", ours.tokens_per_request, theirs.tokens_per_request),
    ];
    if !counted && !BOUND_TO_LENGTH.contains(&metric) {
        return Ok(());
    }
    for (which, a, b) in lengths {
        let same = a
            .zip(b)
            .is_some_and(|(a, b)| (a - b).abs() <= SAME_WORK * b.abs());
        if !same {
            let shown = |tokens: Option<f64>| match tokens {
                Some(tokens) => format!("{tokens:.1} {which} tokens a request"),
                None => format!("unknown {which} tokens a request"),
            };
            return differ(shown(a), shown(b));
        }
    }
    Ok(())
}
