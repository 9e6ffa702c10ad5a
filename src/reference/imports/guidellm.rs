//! Results of GuideLLM: a file of benchmarks, each with distributions of what succeeded, failed and was cut off.

use serde_json::Value;

use super::draft::{Draft, EXACT, Percentiles, ROUNDED};
use super::value::{MOST, at, count, first, number, rate, text};
use crate::ground::results::ReferenceRun;
use crate::reference::rules::{MOMENTARY, PER_TOKEN, PER_TOKEN_WEIGHTED};

const MODEL: [&str; 6] = [
    "config.backend.model",
    "worker.backend_model",
    "args.backend.model",
    "benchmarker.backend.model",
    "backend.model",
    "config.model",
];
const STRATEGY: [&str; 3] = ["config.strategy", "args.strategy", "scheduler.strategy"];
/// Latencies by the tool's names and ours, and what makes milliseconds of them.
const LATENCIES: [(&str, &str, f64); 3] = [
    ("time_to_first_token_ms", "ttft", 1.0),
    ("inter_token_latency_ms", "tpot", 1.0),
    // In seconds.
    ("request_latency", "e2el", 1e3),
];

const WINDOW: &str = "seconds that were measured, without warm-up and cool-down";

pub fn is(value: &Value) -> bool {
    let first = value.get("benchmarks").and_then(|list| list.get(0));
    first.is_some_and(|benchmark| benchmark.get("metrics").is_some())
}

/// One run a benchmark.
pub fn read(value: &Value, source: &str) -> Vec<ReferenceRun> {
    let list = value.get("benchmarks").and_then(Value::as_array);
    let model = text(
        value,
        &[
            "args.model",
            "config.spec.backend.model",
            "config.backend.model",
        ],
    );
    let read = |benchmark| benchmark_of(benchmark, model.clone(), source);
    list.into_iter()
        .flatten()
        .take(MOST + 1)
        .map(read)
        .collect()
}

fn benchmark_of(value: &Value, model: Option<String>, source: &str) -> ReferenceRun {
    let mut draft = Draft::new("GuideLLM", source, Percentiles::Step);
    draft.run.model = text(value, &MODEL).or(model).unwrap_or_default();
    load(&mut draft, value);
    let succeeded = |metric: &str, statistic: &str| {
        let path = format!("metrics.{metric}.successful.{statistic}");
        number(value, &path)
    };
    let requests = |kind: &str| {
        let paths = ["request_totals", "metrics.request_totals"];
        paths
            .iter()
            .find_map(|path| number(value, &format!("{path}.{kind}")))
    };
    let (completed, failed) = (requests("successful"), requests("errored"));
    draft.ours("completed", completed);
    draft.ours("failed", failed);
    draft.beside(
        "incomplete_requests",
        requests("incomplete"),
        "requests that the end of the run cut off, in no other count",
    );
    let window = || Some(number(value, "end_time")? - number(value, "start_time")?);
    let duration = number(value, "duration").or_else(window);
    let cut = ["warmup_duration", "cooldown_duration"];
    let is_cut = cut
        .iter()
        .any(|name| number(value, name).is_some_and(|s| s > 0.0));
    match is_cut {
        true => draft.map("duration", duration, WINDOW),
        false => draft.ours("duration", duration),
    }
    draft.ours(
        "total_input_tokens",
        succeeded("prompt_token_count", "total_sum"),
    );
    draft.ours(
        "total_output_tokens",
        succeeded("output_token_count", "total_sum"),
    );
    for (theirs, ours) in [
        ("requests_per_second", "request_throughput"),
        ("prompt_tokens_per_second", "input_throughput"),
        ("output_tokens_per_second", "output_throughput"),
        ("tokens_per_second", "total_token_throughput"),
    ] {
        draft.map(ours, succeeded(theirs, "mean"), MOMENTARY);
    }
    for (theirs, ours, unit) in LATENCIES {
        let values = succeeded(theirs, "count");
        let is_weighted = ours == "tpot" && values != completed;
        for (statistic, path) in [
            ("mean", "mean"),
            ("median", "median"),
            ("std", "std_dev"),
            ("p50", "percentiles.p50"),
            ("p90", "percentiles.p90"),
            ("p95", "percentiles.p95"),
            ("p99", "percentiles.p99"),
            ("max", "max"),
        ] {
            let value = succeeded(theirs, path).map(|value| value * unit);
            let value = value.filter(|_| values != Some(0.0));
            let name = format!("{statistic}_{ours}_ms");
            match (ours, is_weighted) {
                ("tpot", true) => draft.map(&name, value, PER_TOKEN_WEIGHTED),
                ("tpot", false) => draft.map(&name, value, PER_TOKEN),
                _ => draft.ours(&name, value),
            }
        }
    }
    per_output_token(&mut draft, value);
    // Of a table, which has no sums.
    let whole = |tokens: f64| count(tokens.round()).map(|tokens| tokens as usize);
    if draft.figure("total_output_tokens").is_none() {
        draft.run.input_len = succeeded("prompt_token_count", "mean").and_then(whole);
        draft.run.tokens_per_request = succeeded("output_token_count", "mean");
    }
    match is_cut {
        true => draft.note("requests that an end of the measured window cuts count whole: its sums over its seconds are above the rates"),
        false => draft.check_rates(ROUNDED),
    }
    let values = succeeded("request_latency", "count");
    draft.check(
        "latencies = requests that succeeded",
        completed,
        values,
        EXACT,
    );
    draft.finish()
}

/// What it covers changed between releases, and is told from the figures.
fn per_output_token(draft: &mut Draft, value: &Value) {
    let mean = |metric: &str| number(value, &format!("metrics.{metric}.successful.mean"));
    let stated = mean("time_per_output_token_ms");
    let tokens = mean("output_token_count").filter(|tokens| *tokens > 1.0);
    let without = mean("inter_token_latency_ms")
        .zip(tokens)
        .map(|(gap, n)| gap * (n - 1.0) / n);
    let is_without = stated
        .zip(without)
        .is_some_and(|(stated, without)| (stated - without).abs() <= ROUNDED * without);
    let definition = match is_without {
        true => "(last token less first token) / tokens",
        false => "(last token less start of the request) / tokens, the first one's time in it",
    };
    for statistic in ["mean", "median", "percentiles.p99"] {
        let path = format!("metrics.time_per_output_token_ms.successful.{statistic}");
        let name = statistic.rsplit('.').next().unwrap_or(statistic);
        let name = format!("{name}_time_per_output_token_ms");
        draft.beside(&name, number(value, &path), definition);
    }
}

fn load(draft: &mut Draft, value: &Value) {
    let strategy = STRATEGY.iter().find_map(|path| at(value, path));
    let Some(strategy) = strategy else {
        return;
    };
    let kind = text(strategy, &["type_", "kind"]).unwrap_or_default();
    let run = &mut draft.run;
    match &*kind {
        "synchronous" => run.concurrency = Some(1),
        "concurrent" | "throughput" => {
            let streams = first(strategy, &["streams", "max_concurrency"]);
            run.concurrency = streams.and_then(count).map(|streams| streams as usize);
        }
        _ => run.request_rate = rate(strategy, &["rate"]),
    }
}
