//! Results of AIPerf and GenAI-Perf: statistics of named metrics, with the unit of each.

use std::collections::BTreeMap;

use serde_json::Value;

use super::draft::{Draft, EXACT, Percentiles, ROUNDED};
use super::value::{as_number, at, count, first, has, has_any, number, object, rate, text};
use crate::ground::results::ReferenceRun;
use crate::reference::rules::{CHUNK_GAP, PER_TOKEN, REQUEST_RATE_ALL};

const AIPERF: &str = "AIPerf";
const GENAI_PERF: &str = "GenAI-Perf";

/// Statistics by the tools' names, and ours.
const STATISTICS: [(&str, &str); 9] = [
    ("avg", "mean"),
    ("p50", "median"),
    ("p50", "p50"),
    ("std", "std"),
    ("p90", "p90"),
    ("p95", "p95"),
    ("p99", "p99"),
    ("max", "max"),
    ("min", "min"),
];

/// What AIPerf alone has.
const OWN: [&str; 6] = [
    "benchmark_duration",
    "inter_chunk_latency",
    "total_isl",
    "total_osl",
    "aiperf_version",
    "telemetry_data",
];

/// One metric of a table.
#[derive(Debug, Default)]
pub struct Metric {
    pub unit: String,
    /// By the tool's names.
    pub statistics: BTreeMap<String, f64>,
}

/// Metrics by their tags.
pub type Table = BTreeMap<String, Metric>;

/// The tag of a heading, and its unit: `Request Latency (ms)` -> `request_latency`, `ms`.
pub fn tag(heading: &str) -> (String, String) {
    let (name, unit) = match heading.split_once('(') {
        Some((name, unit)) => (name, unit.trim_end_matches([')', ' '])),
        None => (heading, ""),
    };
    let words = name.split_whitespace().map(str::to_lowercase);
    let tag = words.collect::<Vec<_>>().join("_");
    let tag = match &*tag {
        "ttft" => "time_to_first_token",
        "ttst" => "time_to_second_token",
        "total_input_sequence_length" => "total_isl",
        "total_output_sequence_length" => "total_osl",
        _ => &tag,
    };
    (tag.to_owned(), unit.to_lowercase())
}

pub fn is(value: &Value) -> bool {
    at(value, "records.request_latency.avg").is_some()
        || at(value, "records.request_count.avg").is_some()
        || at(value, "request_latency.avg").is_some()
        || at(value, "request_throughput.avg").is_some()
}

/// A line of AIPerf's `profile_export.jsonl`.
pub fn is_request(value: &Value) -> bool {
    has(value, &["metadata", "metrics"])
        && (at(value, "metadata.request_start_ns").is_some()
            || at(value, "metrics.request_latency.value").is_some())
}

/// Requests one by one are not the run's figures, which stand elsewhere.
pub fn requests(count: usize, source: &str) -> ReferenceRun {
    let mut draft = Draft::new(AIPERF, source, Percentiles::Linear);
    draft.note(format!(
        "{count} requests, one a line: the figures of the run are in the profile_export_aiperf.json beside this file"
    ));
    draft.finish()
}

/// A JSON export.
pub fn read(value: &Value, source: &str) -> ReferenceRun {
    let records = value.get("records").filter(|records| records.is_object());
    let mut table = Table::new();
    for (name, entry) in object(records.unwrap_or(value)).into_iter().flatten() {
        let statistics = object(entry).into_iter().flatten();
        let statistics: BTreeMap<String, f64> = statistics
            .filter_map(|(name, value)| Some((name.clone(), as_number(value)?)))
            .collect();
        if statistics.contains_key("avg") {
            let unit = text(entry, &["unit"]).unwrap_or_default().to_lowercase();
            table.insert(tag(name).0, Metric { unit, statistics });
        }
    }
    let own = records.is_some() || has_any(value, &OWN);
    let mut draft = Draft::new(tool(own), source, Percentiles::Linear);
    let run = &mut draft.run;
    let model = [
        "input_config.endpoint.model_names.0",
        "input_config.models.0",
        "input_config.models.items.0.name",
        "input_config.model_names.0",
        "input_config.model.0",
        "input_config.model",
    ];
    run.model = text(value, &model).unwrap_or_default();
    let concurrency = [
        "input_config.loadgen.concurrency",
        "input_config.perf_analyzer.stimulus.concurrency",
        "input_config.concurrency",
    ];
    let asked = [
        "input_config.loadgen.request_rate",
        "input_config.request_rate",
    ];
    let phase = measured_phase(value).unwrap_or(&Value::Null);
    let limit = first(value, &concurrency).or_else(|| number(phase, "concurrency"));
    run.concurrency = limit.and_then(whole);
    run.request_rate = rate(value, &asked).or_else(|| rate(phase, &["rate"]));
    run.hardware.gpu = gpu(value);
    if let Some(true) = value.get("was_cancelled").and_then(Value::as_bool) {
        draft.note("the run was cancelled");
    }
    fill(&mut draft, &table, EXACT);
    draft.finish()
}

/// What AIPerf's releases from 0.13 on say of the load; nothing where several loads were measured.
fn measured_phase(value: &Value) -> Option<&Value> {
    let phases = at(value, "input_config.phases")?.as_array()?;
    let is_measured = |phase: &&Value| text(phase, &["kind"]).as_deref() == Some("profiling");
    let mut measured = phases.iter().filter(is_measured);
    measured.next().filter(|_| measured.next().is_none())
}

/// A table of text, whose numbers are rounded; of AIPerf if `own`, or where it has what AIPerf alone has.
pub fn table(table: &Table, source: &str, own: bool) -> Draft {
    let own = own || OWN.iter().any(|name| table.contains_key(*name));
    let mut draft = Draft::new(tool(own), source, Percentiles::Linear).printed();
    fill(&mut draft, table, ROUNDED);
    draft
}

fn tool(own: bool) -> &'static str {
    if own { AIPERF } else { GENAI_PERF }
}

fn whole(number: f64) -> Option<usize> {
    count(number).map(|number| number as usize)
}

/// The first that the telemetry names.
fn gpu(value: &Value) -> Option<String> {
    let endpoints = object(at(value, "telemetry_data.endpoints")?)?;
    let gpus = endpoints.values().filter_map(|e| object(e.get("gpus")?));
    gpus.flat_map(|gpus| gpus.values())
        .find_map(|gpu| text(gpu, &["gpu_name"]))
}

fn fill(draft: &mut Draft, table: &Table, part: f64) {
    let own = draft.run.tool.as_deref() == Some(AIPERF);
    let value = |name: &str| table.get(name)?.statistics.get("avg").copied();
    draft.ours("completed", value("request_count"));
    draft.ours("failed", value("error_request_count"));
    let seconds = table.get("benchmark_duration").map(|m| ms(&m.unit) / 1e3);
    let duration = value("benchmark_duration").zip(seconds);
    draft.ours("duration", duration.map(|(value, unit)| value * unit));
    draft.ours("total_input_tokens", value("total_isl"));
    draft.ours("total_output_tokens", value("total_osl"));
    draft.ours("output_throughput", value("output_token_throughput"));
    draft.ours("total_token_throughput", value("total_token_throughput"));
    let goodput = value("goodput").or_else(|| value("request_goodput"));
    draft.ours("request_goodput", goodput);
    // GenAI-Perf counts every request of the profile, empty ones too.
    let rate = value("request_throughput");
    match own {
        true => draft.ours("request_throughput", rate),
        false => draft.map("request_throughput", rate, REQUEST_RATE_ALL),
    }
    for (name, latency, definition) in [
        ("time_to_first_token", "ttft", None),
        ("request_latency", "e2el", None),
        ("inter_token_latency", "tpot", Some(PER_TOKEN)),
        ("inter_chunk_latency", "itl", Some(CHUNK_GAP)),
    ] {
        let Some(metric) = table.get(name) else {
            continue;
        };
        for (theirs, ours) in STATISTICS {
            let ours = format!("{ours}_{latency}_ms");
            let value = metric.statistics.get(theirs);
            let value = value.map(|value| value * ms(&metric.unit));
            match definition {
                Some(definition) => draft.map(&ours, value, definition),
                None => draft.ours(&ours, value),
            }
        }
    }
    let lengths = |name| table.get(name).and_then(|m| m.statistics.get("avg"));
    let rounded = |tokens: &f64| whole(tokens.round());
    draft.run.input_len = lengths("input_sequence_length").and_then(rounded);
    draft.run.tokens_per_request = lengths("output_sequence_length").copied();
    beside(draft, table);
    draft.check_rates(part);
    let sum = || Some(lengths("output_sequence_length")? * draft.figure("completed")?);
    let (stated, computed) = (draft.figure("total_output_tokens"), sum());
    let law = "mean output tokens x requests = output tokens";
    draft.check(law, stated, computed, part);
    let sum = || Some(lengths("output_sequence_length")? * rate?);
    if !own {
        let law = "mean output tokens x requests a second = output_throughput";
        let stated = draft.figure("output_throughput");
        draft.check(law, stated, sum(), ROUNDED);
    }
}

/// What is none of ours.
fn beside(draft: &mut Draft, table: &Table) {
    const MAPPED: [&str; 14] = [
        "request_count",
        "error_request_count",
        "benchmark_duration",
        "total_isl",
        "total_osl",
        "output_token_throughput",
        "total_token_throughput",
        "request_throughput",
        "goodput",
        "request_goodput",
        "time_to_first_token",
        "request_latency",
        "inter_token_latency",
        "inter_chunk_latency",
    ];
    let others = table.iter().filter(|(name, _)| !MAPPED.contains(&&***name));
    for (name, metric) in others {
        let value = metric.statistics.get("avg").copied();
        let definition = format!("the tool's {name}, mean, {}", metric.unit);
        draft.beside(name, value, definition.trim_end_matches([',', ' ']));
    }
}

/// Milliseconds of a unit.
fn ms(unit: &str) -> f64 {
    match unit {
        "s" | "sec" | "seconds" => 1e3,
        "us" | "microseconds" => 1e-3,
        "ns" | "nanoseconds" => 1e-6,
        _ => 1.0,
    }
}
