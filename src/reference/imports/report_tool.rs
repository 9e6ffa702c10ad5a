//! Rows of the source report's tool: its metric names, with or without their units, as JSON or as a table.

use serde_json::{Map, Value};

use super::csv;
use super::value::{as_number, object, parsed};
use crate::ground::results::{ClientMode, Metrics, ReferenceHardware, ReferenceRun};
use crate::reference::artefacts::{artefacts, client_mode, throughput_definition};
use crate::reference::short_name;

/// Of its names so many make a row.
const FEWEST: usize = 4;
/// Names that no other tool uses; `avg_latency` and its like are others' too, in other units.
const OWN: [&str; 6] = [
    "avg_first_token_latency",
    "avg_tpot",
    "total_tokens_generated",
    "overall_total_throughput",
    "input_tokens_per_sec",
    "output_tokens_per_sec",
];
const TOOL: &str = "the source report's tool";
const ABSENT: &str = "not in the file";

/// `avg_latency (s)` -> `avg_latency`.
fn name(key: &str) -> &str {
    key.split_once(" (").map_or(key, |(name, _)| name).trim()
}

pub fn is(value: &Value) -> bool {
    let known = Metrics::default().entries();
    let row = row(value);
    let keys = row.into_iter().flat_map(|map| map.keys());
    let names: Vec<&str> = keys.map(|key| name(key)).collect();
    let is_own = names.iter().any(|name| OWN.contains(name));
    is_own
        && names
            .iter()
            .filter(|name| known.contains_key(**name))
            .count()
            >= FEWEST
}

/// The object that has the metrics: the value, or what it holds under `metrics` or `results`.
fn row(value: &Value) -> Option<&Map<String, Value>> {
    let inner = ["metrics", "results", "summary"];
    let inner = inner.iter().find_map(|key| object(value.get(key)?));
    inner.or_else(|| object(value))
}

/// Headers with metrics in columns, or names and values in two of them.
pub fn of_table(text: &str) -> Vec<Value> {
    let separator = match text.lines().next() {
        Some(first) if first.contains('\t') => '\t',
        _ => ',',
    };
    let rows = csv::rows(text.trim_start(), separator);
    let Some((header, rows)) = rows.split_first() else {
        return Vec::new();
    };
    let keyed = |pairs: &mut dyn Iterator<Item = (&String, &String)>| {
        let pairs = pairs.map(|(key, cell)| (key.clone(), Value::from(cell.as_str())));
        Value::Object(pairs.collect())
    };
    let columns = rows.iter().filter(|row| row.len() == header.len());
    let columns: Vec<Value> = columns
        .map(|row| keyed(&mut header.iter().zip(row)))
        .filter(is)
        .collect();
    if !columns.is_empty() {
        return columns;
    }
    let mut pairs = std::iter::once(header)
        .chain(rows)
        .filter_map(|row| row.first().zip(row.get(1)));
    let pairs = keyed(&mut pairs);
    if is(&pairs) { vec![pairs] } else { Vec::new() }
}

pub fn read(value: &Value, source: &str) -> ReferenceRun {
    let known = Metrics::default().entries();
    let empty = Map::new();
    let row = row(value).unwrap_or(&empty);
    let mut run = ReferenceRun {
        source: source.to_owned(),
        tool: Some(TOOL.to_owned()),
        backend: "unknown engine".to_owned(),
        hardware: ReferenceHardware {
            name: "unknown hardware".to_owned(),
            ..ReferenceHardware::default()
        },
        ..ReferenceRun::default()
    };
    let mut stated = Map::new();
    for (key, value) in row {
        let metric = name(key);
        if !known.contains_key(metric) {
            continue;
        }
        match metric {
            "model" | "prompt" | "timestamp" => {
                stated.insert(metric.to_owned(), value.clone());
            }
            // Which GPUs, and no figure.
            "gpu_index" => {}
            _ => {
                let number = as_number(value).or_else(|| parsed(value.as_str()?));
                run.raw.extend(number.map(|n| (metric.to_owned(), n)));
            }
        }
    }
    run.not_observed = artefacts(&run.raw);
    let observed = run
        .raw
        .iter()
        .filter(|(name, _)| !run.not_observed.contains_key(*name));
    for (name, number) in observed {
        let value = match super::value::count(*number) {
            Some(count) => Value::from(count),
            None => Value::from(*number),
        };
        stated.insert(name.clone(), value);
    }
    run.metrics = metrics(stated);
    run.client_mode = client_mode(&run.raw);
    if run.client_mode == ClientMode::NonStreaming {
        let note = "the client saw only whole answers: its times of first tokens are none";
        run.notes.push(note.to_owned());
    }
    run.throughput_definition = throughput_definition(&run.raw);
    run.requests = run.metrics.total_requests;
    let requests = run.metrics.successful_requests.or(run.requests);
    let each = requests.zip(run.metrics.total_tokens_generated);
    run.tokens_per_request = each
        .filter(|(requests, _)| *requests > 0)
        .map(|(requests, tokens)| tokens as f64 / requests as f64);
    run.model = run.metrics.model.clone().unwrap_or_default();
    if run.model.is_empty() {
        run.model = "unknown model".to_owned();
    }
    run.name = format!("report-tool/{}", short_name(&run.model));
    for (name, value) in run.metrics.entries() {
        if value.is_null() {
            let reason = || ABSENT.to_owned();
            run.not_observed.entry(name).or_insert_with(reason);
        }
    }
    run
}

/// The metrics; one that is of another kind than it should be is left out.
fn metrics(mut stated: Map<String, Value>) -> Metrics {
    let one = |name: &String, value: &Value| {
        let map = Map::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<Metrics>(Value::Object(map)).is_ok()
    };
    stated.retain(|name, value| one(name, value));
    serde_json::from_value(Value::Object(stated)).unwrap_or_default()
}
