//! GuideLLM's tables: one line of names until release 0.3, three of them since 0.4. Read into the shape that its JSON has,
//! one benchmark a row; what a table leaves out (counts and sums of tokens) is missing there.

use serde_json::{Value, json};

use super::csv;
use super::value::{MOST, at, parsed};
use crate::ground::json::{self, Limits};

const FIRST: [&str; 3] = ["Type", "Run Id", "Id"];
const GROUP: &str = "Run Info";
const SUCCESSFUL: &str = "Successful ";
/// What a list of percentiles has, in order.
const PERCENTILES: [&str; 11] = [
    "min", "p001", "p01", "p05", "p10", "p25", "p75", "p90", "p95", "p99", "max",
];
/// Group and units of the three lines, and the metric.
const METRICS: [(&str, &str, &str); 9] = [
    ("Request Latency", "Sec", "request_latency"),
    ("Time to First Token", "ms", "time_to_first_token_ms"),
    ("Time per Output Token", "ms", "time_per_output_token_ms"),
    ("Inter Token Latency", "ms", "inter_token_latency_ms"),
    ("Server Throughput", "Requests/Sec", "requests_per_second"),
    ("Token Metrics", "Input Tokens", "prompt_token_count"),
    ("Token Metrics", "Output Tokens", "output_token_count"),
    (
        "Token Throughput",
        "Output Tokens/Sec",
        "output_tokens_per_second",
    ),
    ("Token Throughput", "Total Tokens/Sec", "tokens_per_second"),
];
/// Statistics by the tables' names, and the JSON's.
const STATISTICS: [(&str, &str); 4] = [
    ("mean", "mean"),
    ("median", "median"),
    ("std dev", "std_dev"),
    ("percentiles", "percentiles"),
];
const PERCENT_LIST: &str = "[min, 0.1, 1, 5, 10, 25, 75, 90, 95, 99, max]";
/// Of a cell that holds JSON.
const CELL: Limits = Limits {
    bytes: 1 << 20,
    memory: 16 << 20,
};

/// The report that a table is of; `None` where it is none.
pub fn of(text: &str) -> Option<Value> {
    let rows = csv::rows(text, ',');
    let first = rows.first()?;
    let is_grouped = first.first()? == GROUP;
    if !is_grouped && first.get(..FIRST.len())? != FIRST {
        return None;
    }
    let (heads, rows) = rows.split_at_checked(if is_grouped { 3 } else { 1 })?;
    let benchmark = |row: &Vec<String>| match is_grouped {
        true => grouped(heads, row),
        false => flat(first, row),
    };
    let rows = rows.iter().filter(|row| row.len() == first.len());
    let benchmarks: Vec<Value> = rows.take(MOST + 1).map(benchmark).collect();
    (!benchmarks.is_empty()).then(|| json!({ "benchmarks": benchmarks }))
}

/// A row under one line of names: `Successful Time to first token ms mean`.
fn flat(head: &[String], row: &[String]) -> Value {
    let mut benchmark = json!({});
    for (name, cell) in head.iter().zip(row) {
        match &**name {
            "Duration" => put(&mut benchmark, "duration", number(cell)),
            "Args" => put(&mut benchmark, "args", document(cell)),
            "Worker" => put(&mut benchmark, "worker", document(cell)),
            name => {
                let of_metric = name.strip_prefix(SUCCESSFUL).and_then(flat_metric);
                if let Some((metric, statistic)) = of_metric {
                    statistics(&mut benchmark, &metric, statistic, cell);
                } else if let Some(kind) = name.strip_suffix(" Requests") {
                    let path = format!("request_totals.{}", kind.to_lowercase());
                    put(&mut benchmark, &path, number(cell));
                }
            }
        }
    }
    // In those releases it had one value a request.
    let requests = at(&benchmark, "request_totals.successful").cloned();
    let path = "metrics.inter_token_latency_ms.successful.count";
    put(&mut benchmark, path, requests);
    benchmark
}

/// `Time to first token ms mean` -> `time_to_first_token_ms`, `mean`.
fn flat_metric(name: &str) -> Option<(String, &'static str)> {
    let named = |(theirs, ours): &(&str, &'static str)| {
        Some((name.strip_suffix(theirs)?.trim_end(), *ours))
    };
    let listed = (PERCENT_LIST, "percentiles");
    let (metric, statistic) = STATISTICS.iter().chain([&listed]).find_map(named)?;
    Some((metric.to_lowercase().replace(' ', "_"), statistic))
}

/// A row under three: a group, a status with units, a statistic.
fn grouped(head: &[Vec<String>], row: &[String]) -> Value {
    let mut benchmark = json!({});
    let word = |line: usize, at: usize| {
        head.get(line)
            .and_then(|line| line.get(at))
            .map_or("", String::as_str)
    };
    for (at, cell) in row.iter().enumerate() {
        match (word(0, at), word(1, at), word(2, at)) {
            (GROUP, "Backend", _) => put(&mut benchmark, "config.backend", document(cell)),
            ("Benchmark", "Strategy", _) => {
                put(
                    &mut benchmark,
                    "config.strategy.type_",
                    Some(Value::from(&**cell)),
                );
            }
            ("Timings", "Duration", _) => put(&mut benchmark, "duration", number(cell)),
            ("Timings", "Warmup", _) => put(&mut benchmark, "warmup_duration", number(cell)),
            ("Timings", "Cooldown", _) => put(&mut benchmark, "cooldown_duration", number(cell)),
            ("Request Counts", kind, _) => {
                let path = format!("metrics.request_totals.{}", kind.to_lowercase());
                put(&mut benchmark, &path, number(cell));
            }
            (group, field, statistic) => {
                let units = field.strip_prefix(SUCCESSFUL);
                let is_it = |(g, u, _): &&(&str, &str, &str)| *g == group && Some(*u) == units;
                let statistic = statistic.to_lowercase();
                let statistic = STATISTICS.iter().find(|(theirs, _)| *theirs == statistic);
                if let Some(((_, _, metric), (_, ours))) = METRICS.iter().find(is_it).zip(statistic)
                {
                    statistics(&mut benchmark, metric, ours, cell);
                }
            }
        }
    }
    benchmark
}

/// A cell of a metric of requests that succeeded.
fn statistics(benchmark: &mut Value, metric: &str, statistic: &str, cell: &str) {
    let path = format!("metrics.{metric}.successful");
    if statistic != "percentiles" {
        return put(benchmark, &format!("{path}.{statistic}"), number(cell));
    }
    let values = cell.trim_matches(['[', ']']).split(',');
    for (name, value) in PERCENTILES.iter().zip(values) {
        let path = match *name {
            "min" | "max" => format!("{path}.{name}"),
            name => format!("{path}.percentiles.{name}"),
        };
        put(benchmark, &path, number(value));
    }
}

fn number(cell: &str) -> Option<Value> {
    parsed(cell).map(Value::from)
}

/// What a cell holds as JSON.
fn document(cell: &str) -> Option<Value> {
    json::parse(cell.as_bytes(), CELL)
        .ok()
        .map(|read| read.value)
}

/// Puts a value where `path` leads, with the objects on the way.
fn put(value: &mut Value, path: &str, what: Option<Value>) {
    let Some(what) = what else {
        return;
    };
    let mut place = value;
    for name in path.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        let Value::Object(map) = place else {
            return;
        };
        place = map.entry(name).or_insert(Value::Null);
    }
    *place = what;
}
