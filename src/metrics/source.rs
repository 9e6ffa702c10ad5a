//! The 35 metrics of the source report, by its definitions: latencies from arrival over successful
//! requests, seconds; rates over first arrival to last token; percentiles for any count.

use super::quantile::{Sample, ratio};
use super::timing::{self, Window};
use super::{MeasureInput, NotObserved, reason};
use crate::ground::results::Metrics;
use crate::ground::{RequestRecord, TelemetrySample};

const PERCENT: f64 = 100.0;
const P90: u32 = 90;
const P95: u32 = 95;
const P99: u32 = 99;

pub(crate) fn metrics(input: &MeasureInput, nulls: &mut NotObserved) -> Metrics {
    let successful = input.successful();
    let window = input.window();
    let requests = input.requests.len();
    let mut metrics = Metrics {
        total_requests: Some(requests as u64),
        successful_requests: Some(successful.len() as u64),
        failed_requests: Some((requests - successful.len()) as u64),
        success_rate: nulls.note(
            "success_rate",
            ratio(PERCENT * successful.len() as f64, requests as f64),
            reason::NO_REQUEST,
        ),
        model: Some(input.model.to_owned()),
        prompt: Some(input.prompt.to_owned()),
        timestamp: Some(input.timestamp.to_owned()),
        ..Metrics::default()
    };
    latencies(&mut metrics, &successful, nulls);
    tpots(&mut metrics, &successful, nulls);
    request_throughputs(&mut metrics, &successful, nulls);
    totals(&mut metrics, &successful, window, nulls);
    machine(&mut metrics, input.telemetry, window, nulls);
    metrics
}

fn latencies(metrics: &mut Metrics, successful: &[&RequestRecord], nulls: &mut NotObserved) {
    let latency = sample(successful, timing::latency);
    let mut note = |name, statistic: fn(&Sample) -> f64| {
        nulls.note(name, latency.as_ref().map(statistic), reason::NO_SUCCESS)
    };
    metrics.avg_latency = note("avg_latency", Sample::mean);
    metrics.min_latency = note("min_latency", Sample::min);
    metrics.max_latency = note("max_latency", Sample::max);
    metrics.p90_latency = note("p90_latency", |s| s.percentile(P90));
    metrics.p95_latency = note("p95_latency", |s| s.percentile(P95));
    metrics.p99_latency = note("p99_latency", |s| s.percentile(P99));
    metrics.avg_first_token_latency = nulls.note(
        "avg_first_token_latency",
        sample(successful, timing::ttft).map(|s| s.mean()),
        reason::NO_SUCCESS,
    );
}

fn tpots(metrics: &mut Metrics, successful: &[&RequestRecord], nulls: &mut NotObserved) {
    let tpot = sample(successful, timing::tpot);
    let why = if successful.is_empty() {
        reason::NO_SUCCESS
    } else {
        reason::NO_SECOND_TOKEN
    };
    let mut note =
        |name, statistic: fn(&Sample) -> f64| nulls.note(name, tpot.as_ref().map(statistic), why);
    metrics.avg_tpot = note("avg_tpot", Sample::mean);
    metrics.p95_tpot = note("p95_tpot", |s| s.percentile(P95));
    metrics.min_tpot = note("min_tpot", Sample::min);
    metrics.max_tpot = note("max_tpot", Sample::max);
}

/// Output tokens over latency, request by request.
fn request_throughputs(
    metrics: &mut Metrics,
    successful: &[&RequestRecord],
    nulls: &mut NotObserved,
) {
    let throughput = sample(successful, |record| {
        ratio(record.output_tokens as f64, timing::latency(record)?)
    });
    let why = if successful.is_empty() {
        reason::NO_SUCCESS
    } else {
        reason::NO_TIME
    };
    let mut note = |name, statistic: fn(&Sample) -> f64| {
        nulls.note(name, throughput.as_ref().map(statistic), why)
    };
    metrics.max_throughput = note("max_throughput", Sample::max);
    metrics.min_throughput = note("min_throughput", Sample::min);
    metrics.avg_throughput = note("avg_throughput", Sample::mean);
}

/// Sums over the whole run, and their rates.
fn totals(
    metrics: &mut Metrics,
    successful: &[&RequestRecord],
    window: Option<Window>,
    nulls: &mut NotObserved,
) {
    let input: usize = successful.iter().map(|r| r.prompt_tokens).sum();
    let output: usize = successful.iter().map(|r| r.output_tokens).sum();
    metrics.total_tokens_generated = Some(output as u64);
    metrics.total_duration = nulls.note(
        "total_duration",
        window.map(|w| w.length()),
        reason::NO_TOKEN,
    );
    let mut rate = |name, amount: usize| {
        let value = window.and_then(|w| ratio(amount as f64, w.length()));
        nulls.note(name, value, reason::no_rate(window))
    };
    metrics.requests_per_sec = rate("requests_per_sec", successful.len());
    metrics.overall_total_throughput = rate("overall_total_throughput", output);
    metrics.input_tokens_per_sec = rate("input_tokens_per_sec", input);
    metrics.output_tokens_per_sec = rate("output_tokens_per_sec", output);
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

fn sample(
    records: &[&RequestRecord],
    value: impl Fn(&RequestRecord) -> Option<f64>,
) -> Option<Sample> {
    Sample::new(records.iter().filter_map(|r| value(r)).collect())
}
