//! The headline table: our runs, each followed by the references of its load.

use serde::Serialize;

use crate::ground::results::Results;
use crate::reference::{Reason, comparable, from_results, value};
use crate::report::columns::{Column, columns, kind};
use crate::report::headline::play_names;

/// Metrics that answer a first question, in words; a metric that no column has is left out.
const ROWS: [(&str, &str); 28] = [
    ("output_tokens_per_sec", "Output tok/s"),
    ("output_throughput_per_gpu", "Output tok/s per GPU"),
    (
        "overall_total_throughput",
        "Total tok/s, as the report counts it",
    ),
    ("decode_speed_per_user", "Tok/s that a user sees"),
    ("requests_per_sec", "Requests/s"),
    (
        "request_goodput",
        "Goodput: requests/s that met the objective",
    ),
    (
        "goodput_attainment_percent",
        "Requests that met the objective",
    ),
    ("avg_first_token_latency", "Time to first token, mean"),
    ("p50_ttft_ms", "TTFT p50"),
    ("p95_ttft_ms", "TTFT p95"),
    ("p99_ttft_ms", "TTFT p99"),
    ("avg_tpot", "Time per output token, mean"),
    ("p50_tpot_ms", "TPOT p50"),
    ("p95_tpot_ms", "TPOT p95"),
    ("p99_tpot_ms", "TPOT p99"),
    ("avg_latency", "End to end, mean"),
    ("p99_latency", "End to end p99"),
    ("successful_requests", "Requests that succeeded"),
    ("failed_requests", "Requests that failed"),
    ("bandwidth_utilization_percent", "Bandwidth, of the roof"),
    ("flop_utilization_percent", "FLOP/s, of the roof"),
    ("avg_gpu_power_watts", "Power of a GPU, mean"),
    ("energy_per_output_token_j", "Energy of an output token"),
    ("output_tokens_per_s_per_watt", "Output tok/s per watt"),
    (
        "kwh_per_million_output_tokens",
        "kWh a million output tokens",
    ),
    ("usd_per_million_input_tokens", "$ a million input tokens"),
    ("usd_per_million_output_tokens", "$ a million output tokens"),
    ("preemptions", "Preemptions"),
];

#[derive(Debug, Serialize)]
pub struct Beside {
    heads: Vec<Head>,
    rows: Vec<Row>,
    /// What a reader must know of the references.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Head {
    load: String,
    whose: String,
    kind: &'static str,
    /// A run of ours; its references follow it.
    ours: bool,
    source: String,
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    key: &'static str,
    name: &'static str,
    cells: Vec<Cell>,
}

/// In a column of a reference, `ratio` is our run's figure over its.
#[derive(Debug, Default, Serialize)]
struct Cell {
    value: Option<f64>,
    /// Why there is no value, or no ratio.
    reason: Option<String>,
    ratio: Option<f64>,
    uncertain: bool,
}

impl Beside {
    pub fn of(results: &Results) -> Self {
        let ours = from_results(results, "this run");
        let columns = columns(results, &ours);
        let mut rows = Vec::new();
        for (key, name) in ROWS {
            let cells: Vec<Cell> = columns.iter().map(|column| cell(key, column)).collect();
            if cells.iter().any(|cell| cell.value.is_some()) {
                rows.push(Row { key, name, cells });
            }
        }
        let notes = columns.iter().flat_map(|column| {
            let notes = column.run.notes.iter();
            notes.map(|note| format!("{}: {note}", column.run.name))
        });
        Self {
            notes: notes.collect(),
            heads: heads(results, &columns),
            rows,
        }
    }
}

fn heads(results: &Results, columns: &[Column]) -> Vec<Head> {
    let mut names = play_names(results).into_iter();
    let head = |column: &Column| {
        let run = column.run;
        let ours = column.beside.is_none();
        let theirs = || {
            run.concurrency
                .map_or_else(|| "any load".to_owned(), |c| format!("c{c}"))
        };
        Head {
            load: match ours {
                true => names.next().unwrap_or_default(),
                false => theirs(),
            },
            whose: match ours {
                true => "this run".to_owned(),
                false => format!("{}, {}", column.head[1], run.backend),
            },
            kind: kind(run.kind),
            ours,
            source: run.source.clone(),
            failure: run.failure.clone(),
        }
    };
    columns.iter().map(head).collect()
}

fn cell(key: &str, column: &Column) -> Cell {
    let run = column.run;
    let found = value(key, run);
    let low = run
        .extended
        .as_ref()
        .map(|extended| &extended.low_confidence);
    let mut cell = Cell {
        value: found,
        uncertain: low.is_some_and(|low| low.iter().any(|name| name == key)),
        ..Cell::default()
    };
    let Some(ours) = column.beside else {
        cell.reason = match found {
            Some(_) => None,
            None => run.not_observed.get(key).cloned(),
        };
        return cell;
    };
    match comparable(key, ours, run) {
        Ok(()) => {
            let quotient = value(key, ours).zip(found);
            let quotient = quotient.filter(|(_, theirs)| *theirs != 0.0);
            cell.ratio = quotient.map(|(ours, theirs)| ours / theirs);
        }
        Err(Reason::NotObserved { reason, .. }) if found.is_none() => cell.reason = Some(reason),
        // Ours has its reason in its own column.
        Err(Reason::NotObserved { .. }) => {}
        Err(reason) => cell.reason = Some(reason.to_string()),
    }
    cell
}
