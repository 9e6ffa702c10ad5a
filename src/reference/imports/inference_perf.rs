//! Results of inference-perf: one report of a stage of the load, or of all of them. Its times are seconds.

use serde_json::Value;

use super::draft::{Draft, Percentiles};
use super::value::{at, count, number, rate};
use crate::ground::results::ReferenceRun;
use crate::reference::rules::CHUNK_GAP_ZEROS;

const STATISTICS: [(&str, &str); 7] = [
    ("mean", "mean"),
    ("median", "median"),
    ("median", "p50"),
    ("p90", "p90"),
    ("p95", "p95"),
    ("p99", "p99"),
    ("max", "max"),
];
const LATENCIES: [(&str, &str); 5] = [
    ("request_latency", "e2el"),
    ("time_to_first_token", "ttft"),
    ("time_per_output_token", "tpot"),
    ("normalized_time_per_output_token", "normalized_latency"),
    ("inter_token_latency", "itl"),
];
/// Digits of a rate that was computed from unrounded times.
const PART: f64 = 1e-4;

pub fn is(value: &Value) -> bool {
    at(value, "successes.latency").is_some() || at(value, "successes.throughput").is_some()
}

pub fn read(value: &Value, source: &str) -> ReferenceRun {
    let mut draft = Draft::new("inference-perf", source, Percentiles::Linear);
    draft.ours("completed", number(value, "successes.count"));
    draft.ours("failed", number(value, "failures.count"));
    draft.ours("duration", number(value, "benchmark_time_seconds"));
    draft.run.request_rate = rate(value, &["load_summary.requested_rate"]);
    draft.run.concurrency = number(value, "load_summary.concurrency")
        .and_then(count)
        .map(|streams| streams as usize);
    for (theirs, ours) in [
        ("requests_per_sec", "request_throughput"),
        ("input_tokens_per_sec", "input_throughput"),
        ("output_tokens_per_sec", "output_throughput"),
        ("total_tokens_per_sec", "total_token_throughput"),
    ] {
        let path = format!("successes.throughput.{theirs}");
        draft.ours(ours, number(value, &path));
    }
    for (theirs, ours) in LATENCIES {
        for (statistic, name) in STATISTICS {
            // Newer reports drop the level between.
            let paths = ["successes.latency", "successes"];
            let seconds = paths
                .iter()
                .find_map(|path| number(value, &format!("{path}.{theirs}.{statistic}")));
            let name = format!("{name}_{ours}_ms");
            let ms = seconds.map(|seconds| seconds * 1e3);
            match ours {
                "itl" => draft.map(&name, ms, CHUNK_GAP_ZEROS),
                _ => draft.ours(&name, ms),
            }
        }
    }
    let length = |paths: [&str; 2]| paths.iter().find_map(|path| number(value, path));
    let input = length(["successes.prompt_len.mean", "successes.prompt_tokens.mean"]);
    let rounded = |tokens: f64| count(tokens.round()).map(|tokens| tokens as usize);
    draft.run.input_len = input.and_then(rounded);
    let output = ["successes.output_len", "successes.output_tokens"];
    draft.run.tokens_per_request = length(output.map(|_| "successes.output_len.mean"))
        .or_else(|| number(value, "successes.output_tokens.mean"));
    laws(&mut draft, value);
    draft.finish()
}

fn laws(draft: &mut Draft, value: &Value) {
    let (input, output, all) = (
        draft.figure("input_throughput"),
        draft.figure("output_throughput"),
        draft.figure("total_token_throughput"),
    );
    let sum = input.zip(output).map(|(a, b)| a + b);
    draft.check("input + output tokens a second = total", all, sum, PART);
    let rate = draft.figure("request_throughput");
    let tokens = draft.run.tokens_per_request;
    let product = rate.zip(tokens).map(|(a, b)| a * b);
    let law = "mean output tokens x requests a second = output_throughput";
    draft.check(law, output, product, PART);
    draft.check_rates(PART);
    if at(value, "load_summary.requested_rate").is_none() {
        draft.note("a summary may pool stages of several rates: the file of one stage is one load");
    }
    let mean = |name: &str| draft.figure(name);
    if let Some((median, mean)) = mean("median_itl_ms").zip(mean("mean_itl_ms"))
        && median * 10.0 < mean
    {
        draft.note("tokens of one chunk share a time: most gaps between tokens are near 0");
    }
    if number(value, "successes.output_len.min") == Some(0.0) {
        draft.note("does not add up: empty answers count as successes");
    }
    let gaps = draft
        .figure("mean_itl_ms")
        .zip(draft.figure("mean_tpot_ms"));
    if let Some((gap, token)) = gaps.filter(|(gap, token)| gap / token > 2.0) {
        draft.note(format!(
            "does not add up: {gap:.2} ms between tokens, {token:.2} ms a token"
        ));
    }
    let failed = number(value, "failures.count").filter(|count| *count > 0.0);
    if let Some(failed) = failed {
        draft.note(format!(
            "{failed} requests failed: latencies are of those that did not"
        ));
    }
}
