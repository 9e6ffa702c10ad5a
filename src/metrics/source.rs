//! The 35 metrics of the source report, by its definitions: latencies from arrival over successful
//! requests, seconds; rates over first arrival to last token; percentiles for any count.

use super::quantile::{Sample, is_trusted, ratio};
use super::requests::Requests;
use super::timing::Window;
use super::{MeasureInput, NotObserved, reason};
use crate::ground::TelemetrySample;
use crate::ground::results::Metrics;

const PERCENT: f64 = 100.0;
const P90: u32 = 90;
const P95: u32 = 95;
const P99: u32 = 99;

pub(crate) fn metrics(
    input: &MeasureInput,
    requests: &Requests,
    nulls: &mut NotObserved,
) -> Metrics {
    let (all, successful) = (requests.count, requests.successful);
    let mut metrics = Metrics {
        total_requests: Some(all as u64),
        successful_requests: Some(successful as u64),
        failed_requests: Some(requests.failed as u64),
        success_rate: nulls.note(
            "success_rate",
            ratio(PERCENT * successful as f64, requests.judged() as f64),
            reason::NO_END,
        ),
        model: Some(input.model.to_owned()),
        prompt: Some(input.prompt.to_owned()),
        timestamp: Some(input.timestamp.to_owned()),
        ..Metrics::default()
    };
    latencies(&mut metrics, requests, nulls);
    tpots(&mut metrics, requests, nulls);
    request_throughputs(&mut metrics, requests, nulls);
    totals(&mut metrics, requests, nulls);
    machine(&mut metrics, input.telemetry, requests.window, nulls);
    metrics
}

/// Percentiles that stand for a handful of values: the report gives them all the same.
pub(crate) fn low_confidence(requests: &Requests) -> Vec<String> {
    let (latency, tpot) = (&requests.samples.e2el, &requests.samples.tpot);
    let percentiles = [
        ("p90_latency", P90, latency),
        ("p95_latency", P95, latency),
        ("p99_latency", P99, latency),
        ("p95_tpot", P95, tpot),
    ];
    let low = percentiles.into_iter().filter(|(_, percent, sample)| {
        let count = sample.as_ref().map(Sample::count);
        count.is_some_and(|count| !is_trusted(count, *percent))
    });
    low.map(|(name, ..)| name.to_owned()).collect()
}

fn latencies(metrics: &mut Metrics, requests: &Requests, nulls: &mut NotObserved) {
    let latency = requests.samples.e2el.as_ref();
    let mut note = |name, statistic: fn(&Sample) -> f64| {
        nulls.note(name, latency.map(statistic), reason::NO_SUCCESS)
    };
    metrics.avg_latency = note("avg_latency", Sample::mean);
    metrics.min_latency = note("min_latency", Sample::min);
    metrics.max_latency = note("max_latency", Sample::max);
    metrics.p90_latency = note("p90_latency", |s| s.percentile(P90));
    metrics.p95_latency = note("p95_latency", |s| s.percentile(P95));
    metrics.p99_latency = note("p99_latency", |s| s.percentile(P99));
    metrics.avg_first_token_latency = nulls.note(
        "avg_first_token_latency",
        requests.samples.ttft.as_ref().map(Sample::mean),
        reason::NO_SUCCESS,
    );
}

fn tpots(metrics: &mut Metrics, requests: &Requests, nulls: &mut NotObserved) {
    let tpot = requests.samples.tpot.as_ref();
    let why = match requests.successful {
        0 => reason::NO_SUCCESS,
        _ => reason::NO_SECOND_TOKEN,
    };
    let mut note = |name, statistic: fn(&Sample) -> f64| nulls.note(name, tpot.map(statistic), why);
    metrics.avg_tpot = note("avg_tpot", Sample::mean);
    metrics.p95_tpot = note("p95_tpot", |s| s.percentile(P95));
    metrics.min_tpot = note("min_tpot", Sample::min);
    metrics.max_tpot = note("max_tpot", Sample::max);
}

/// Output tokens over latency, request by request.
fn request_throughputs(metrics: &mut Metrics, requests: &Requests, nulls: &mut NotObserved) {
    let throughput = requests.samples.throughput.as_ref();
    let why = match requests.successful {
        0 => reason::NO_SUCCESS,
        _ => reason::NO_TIME,
    };
    let mut note =
        |name, statistic: fn(&Sample) -> f64| nulls.note(name, throughput.map(statistic), why);
    metrics.max_throughput = note("max_throughput", Sample::max);
    metrics.min_throughput = note("min_throughput", Sample::min);
    metrics.avg_throughput = note("avg_throughput", Sample::mean);
}

/// Sums over the whole run, and their rates.
fn totals(metrics: &mut Metrics, requests: &Requests, nulls: &mut NotObserved) {
    let window = requests.window;
    metrics.total_tokens_generated = Some(requests.output_tokens);
    metrics.total_duration = nulls.note(
        "total_duration",
        window.map(|w| w.length()),
        reason::NO_TOKEN,
    );
    let mut rate = |name, amount: u64| {
        let value = window.and_then(|w| ratio(amount as f64, w.length()));
        nulls.note(name, value, reason::no_rate(window))
    };
    metrics.requests_per_sec = rate("requests_per_sec", requests.successful as u64);
    metrics.overall_total_throughput = rate("overall_total_throughput", requests.output_tokens);
    metrics.input_tokens_per_sec = rate("input_tokens_per_sec", requests.input_tokens);
    metrics.output_tokens_per_sec = rate("output_tokens_per_sec", requests.output_tokens);
}

/// Means of the samples taken between first arrival and last token.
fn machine(
    metrics: &mut Metrics,
    telemetry: &[TelemetrySample],
    window: Option<Window>,
    nulls: &mut NotObserved,
) {
    let mut mean = |name, value: fn(&TelemetrySample) -> f64| {
        let inside = telemetry
            .iter()
            .filter(|sample| window.is_some_and(|w| w.contains(sample.time)));
        let sample = Sample::new(inside.map(value).collect());
        nulls.note(name, sample.map(|s| s.mean()), reason::NO_SAMPLE)
    };
    metrics.cpu_percent = mean("cpu_percent", |s| s.cpu_percent);
    metrics.ram_percent = mean("ram_percent", |s| s.ram_percent);
}
