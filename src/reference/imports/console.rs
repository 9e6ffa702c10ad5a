//! What vLLM's and SGLang's benchmarks print, alone or within a log: read into the keys that their files have.

use serde_json::{Map, Value};

use super::value::{MOST, parsed};
use super::{sglang, vllm};
use crate::ground::results::ReferenceRun;

/// Above each result of a server.
const TITLES: [&str; 2] = [
    "Serving Benchmark Result",
    "Offline Throughput Benchmark Result",
];
/// In a line of rules around a title.
const RULE: &str = "====";
const THROUGHPUT: &str = "Throughput: ";
const A_SECOND: &str = " requests/s";
const LATENCY: &str = "Avg latency: ";
const PERCENTILE: &str = "% percentile latency: ";
/// In the list of arguments that is printed first.
const MODEL: &str = " model='";
const PATH: &str = "model_path='";

/// Lines before the colon, and the keys of a file.
const LINES: [(&str, &str); 27] = [
    ("Backend", "backend"),
    ("Traffic request rate", "request_rate"),
    ("Request rate configured (RPS)", "request_rate"),
    ("Maximum request concurrency", "max_concurrency"),
    ("Max request concurrency", "max_concurrency"),
    // Of SGLang's releases until 2025.
    ("Max reqeuest concurrency", "max_concurrency"),
    ("Successful requests", "completed"),
    ("Failed requests", "failed"),
    ("Benchmark duration (s)", "duration"),
    ("Total input tokens", "total_input_tokens"),
    ("Total generated tokens", "total_output_tokens"),
    (
        "Total generated tokens (retokenized)",
        "total_output_tokens_retokenized",
    ),
    ("Request throughput (req/s)", "request_throughput"),
    ("Request goodput (req/s)", "request_goodput"),
    ("Input token throughput (tok/s)", "input_throughput"),
    ("Output token throughput (tok/s)", "output_throughput"),
    ("Total token throughput (tok/s)", "total_token_throughput"),
    ("Total Token throughput (tok/s)", "total_token_throughput"),
    ("Total throughput (tok/s)", "total_token_throughput"),
    (
        "Peak output token throughput (tok/s)",
        "max_output_tokens_per_s",
    ),
    ("Peak concurrent requests", "max_concurrent_requests"),
    ("Concurrency", "concurrency"),
    ("Accept length", "accept_length"),
    ("Acceptance rate (%)", "spec_decode_acceptance_rate"),
    ("Acceptance length", "spec_decode_acceptance_length"),
    ("Last generation throughput (tok/s)", "last_gen_throughput"),
    ("Total num output tokens", "total_output_tokens"),
];
/// Latencies as they are printed, and as keys have them.
const LATENCIES: [(&str, &str); 5] = [
    ("TTFT", "ttft"),
    ("TPOT", "tpot"),
    ("ITL", "itl"),
    ("E2EL", "e2el"),
    ("E2E Latency", "e2e_latency"),
];

pub fn is(text: &str) -> bool {
    text.lines().any(|line| is_title(line) || is_offline(line))
}

fn is_title(line: &str) -> bool {
    line.contains(RULE) && TITLES.iter().any(|title| line.contains(title))
}

fn is_offline(line: &str) -> bool {
    line.starts_with(LATENCY) || line.starts_with(THROUGHPUT) && line.contains(A_SECOND)
}

/// One run a result that is printed.
pub fn read(text: &str, source: &str) -> Vec<ReferenceRun> {
    let mut runs = Vec::new();
    let mut before = Map::new();
    let mut result: Option<Map<String, Value>> = None;
    let mut offline: Option<Map<String, Value>> = None;
    for line in text.lines().map(str::trim) {
        if runs.len() > MOST {
            break;
        }
        if let Some(name) = model(line) {
            before.insert("model_id".to_owned(), Value::from(name));
        }
        if is_title(line) {
            let last = result.replace(before.clone());
            runs.extend(last.and_then(|map| served(map, source)));
        } else if line.starts_with(RULE) {
            runs.extend(result.take().and_then(|map| served(map, source)));
        } else if let Some(rates) = line.strip_prefix(THROUGHPUT) {
            let last = offline.replace(rates_of(rates, &before));
            runs.extend(last.map(|map| vllm::throughput(&Value::Object(map), source)));
        } else if let Some(seconds) = line.strip_prefix(LATENCY) {
            before.insert("avg_latency".to_owned(), seconds_of(seconds));
        } else if let Some((percent, seconds)) = line.split_once(PERCENTILE) {
            let all = before
                .entry("percentiles")
                .or_insert_with(|| Map::new().into());
            if let Some(all) = all.as_object_mut() {
                all.insert(percent.to_owned(), seconds_of(seconds));
            }
        } else if let Some((key, value)) = pair(line) {
            // What is printed before a title is of the load.
            let last = result.as_mut().or(offline.as_mut());
            last.unwrap_or(&mut before).insert(key, value);
        }
    }
    runs.extend(result.and_then(|map| served(map, source)));
    runs.extend(offline.map(|map| vllm::throughput(&Value::Object(map), source)));
    if before.contains_key("avg_latency") {
        runs.push(vllm::latency(&Value::Object(before), source));
    }
    runs
}

/// SGLang alone says which server it played against. A title without a result under it is none.
fn served(map: Map<String, Value>, source: &str) -> Option<ReferenceRun> {
    let value = Value::Object(map);
    value.get("completed")?;
    Some(match value.get("backend") {
        Some(_) => sglang::printed(&value, source),
        None => vllm::printed_serve(&value, source),
    })
}

/// `5.00 requests/s, 800.00 total tokens/s, 300.00 output tokens/s`.
fn rates_of(rates: &str, before: &Map<String, Value>) -> Map<String, Value> {
    let mut map = before.clone();
    for rate in rates.split(", ") {
        let (number, unit) = rate.split_once(' ').unwrap_or((rate, ""));
        let key = match unit.trim() {
            "requests/s" => "requests_per_second",
            "total tokens/s" | "tokens/s" => "tokens_per_second",
            "output tokens/s" => "output_throughput",
            _ => continue,
        };
        map.insert(key.to_owned(), parsed(number).into());
    }
    map
}

fn seconds_of(text: &str) -> Value {
    parsed(text.trim_end_matches(" seconds")).into()
}

/// The key and value of a line.
fn pair(line: &str) -> Option<(String, Value)> {
    let (name, value) = line.rsplit_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    let key = match LINES.iter().find(|(line, _)| *line == name) {
        Some((_, key)) => (*key).to_owned(),
        None => latency(name)?,
    };
    Some((key, Value::from(value)))
}

/// `P99 E2E Latency (ms)` -> `p99_e2e_latency_ms`.
fn latency(name: &str) -> Option<String> {
    let (statistic, rest) = name.strip_suffix(" (ms)")?.split_once(' ')?;
    let (_, latency) = LATENCIES.iter().find(|(printed, _)| *printed == rest)?;
    Some(format!("{}_{latency}_ms", statistic.to_lowercase()))
}

/// `model='example/Small-1B'` within a line of arguments.
fn model(line: &str) -> Option<&str> {
    let arguments = line.contains("Namespace(") || line.contains("Args(");
    let after = |name: &str| Some(line.split_once(name)?.1);
    let rest = after(MODEL).or_else(|| after(PATH)).filter(|_| arguments)?;
    rest.split_once('\'').map(|(name, _)| name)
}
