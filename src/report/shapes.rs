//! What `bench --shapes` measured, as llama-bench lays it out: a table, Markdown to paste, JSON lines, CSV.

use serde::Serialize;

use super::columns;
use super::csv::quoted;
use super::layout::{GAP, chars, wrapped};
use super::markdown::escaped;
use super::number::number;
use crate::bench::{ShapeTest, Shapes};

const GIB: f64 = (1u64 << 30) as f64;
const BILLION: f64 = 1e9;
const HEADS: [&str; 6] = ["model", "size", "params", "backend", "test", "t/s"];
/// The rest are numbers, and stand right.
const LEFT: [bool; 6] = [true, false, false, true, false, false];

type Cells = [String; 6];

fn cells(result: &Shapes, test: &ShapeTest) -> Cells {
    let bytes: u64 = result.engine.ranks.iter().map(|r| r.weights_bytes).sum();
    [
        format!("{} {}", result.model.label(), result.model.dtype),
        format!("{:.2} GiB", bytes as f64 / GIB),
        format!("{:.2} B", result.model.parameters as f64 / BILLION),
        backend(result),
        test.test.clone(),
        format!("{} ± {}", number(test.avg_ts), number(test.stddev_ts)),
    ]
}

/// The device, and how many of what it is made of.
fn backend(result: &Shapes) -> String {
    let device = &result.hardware.device;
    match (result.engine.threads, result.engine.tp) {
        (0, 1) => device.clone(),
        (0, ranks) => format!("{device} x{ranks}"),
        (threads, 1) => format!("{device}, {threads} threads"),
        (threads, ranks) => format!("{device} x{ranks}, {threads} threads"),
    }
}

fn rows(result: &Shapes) -> Vec<Cells> {
    let tests = result.tests.iter();
    tests.map(|test| cells(result, test)).collect()
}

/// Columns for a terminal, with what does not change above them.
pub fn table(result: &Shapes, width: usize) -> String {
    let rows = rows(result);
    let Some([model, size, params, backend, ..]) = rows.first() else {
        return String::new();
    };
    let mut out = wrapped(
        &format!("{model}, {params} parameters, {size} of weights"),
        0,
        GAP,
        width,
    );
    let hardware = &result.hardware.name;
    out += &wrapped(
        &format!("{backend}: {hardware}; {}", columns::kind(result.kind)),
        0,
        GAP,
        width,
    );
    out.push('\n');
    let shown = |cells: &Cells| [cells[4].clone(), cells[5].clone()];
    let heads = [HEADS[4].to_owned(), HEADS[5].to_owned()];
    let lines: Vec<[String; 2]> = [heads].into_iter().chain(rows.iter().map(shown)).collect();
    let wide = |column: usize| lines.iter().map(|line| chars(&line[column])).max();
    let (first, second) = (wide(0).unwrap_or(0), wide(1).unwrap_or(0));
    for [test, rate] in &lines {
        out += &format!("{test:<first$}  {rate:>second$}\n");
    }
    out.push('\n');
    out + &wrapped(&method(result), 0, GAP, width)
}

/// How the figures came about, and by which program.
fn method(result: &Shapes) -> String {
    let repeats = result.tests.first().map_or(0, |t| t.samples_ts.len());
    let environment = &result.environment;
    let revision = environment.git.as_deref().unwrap_or("no revision");
    format!(
        "mean ± standard deviation of {repeats}; candlepower {} ({revision})",
        environment.candlepower
    )
}

/// As people paste it.
pub fn markdown(result: &Shapes) -> String {
    let heads = HEADS.map(str::to_owned);
    let rows = rows(result)
        .into_iter()
        .map(|cells| cells.map(|c| escaped(&c)));
    let lines: Vec<Cells> = [heads].into_iter().chain(rows).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = lines.iter().map(|line| chars(&line[column]));
        cells.max().unwrap_or(0)
    });
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            out += &match LEFT[column] {
                true => format!("| {cell:<width$} "),
                false => format!("| {cell:>width$} "),
            };
        }
        out.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                out += &match LEFT[column] {
                    true => format!("| {} ", "-".repeat(*width)),
                    false => format!("| {}: ", "-".repeat(width - 1)),
                };
            }
            out.push_str("|\n");
        }
    }
    out + &format!("\n{}; {}\n", columns::kind(result.kind), method(result))
}

/// One line a test, each with all that tells it from others.
#[derive(Serialize)]
struct Line<'a> {
    build_version: &'a str,
    build_commit: Option<&'a str>,
    kind: crate::ground::results::Kind,
    cpu_info: &'a str,
    backend: &'a str,
    device_info: &'a str,
    model_name: String,
    model_type: &'a str,
    model_size: u64,
    model_n_params: u64,
    n_batch: usize,
    n_threads: usize,
    tp: usize,
    type_k: &'a str,
    type_v: &'a str,
    test_time: &'a str,
    #[serde(flatten)]
    test: &'a ShapeTest,
}

/// JSON lines, one a test.
///
/// # Errors
/// A number outside JSON.
pub fn lines(result: &Shapes) -> Result<String, serde_json::Error> {
    let engine = &result.engine;
    let mut out = String::new();
    for test in &result.tests {
        out += &serde_json::to_string(&Line {
            build_version: &result.environment.candlepower,
            build_commit: result.environment.git.as_deref(),
            kind: result.kind,
            cpu_info: &result.environment.cpu,
            backend: &result.hardware.device,
            device_info: &result.hardware.name,
            model_name: result.model.label(),
            model_type: &result.model.architecture,
            model_size: engine.ranks.iter().map(|rank| rank.weights_bytes).sum(),
            model_n_params: result.model.parameters,
            n_batch: engine.max_num_batched_tokens,
            n_threads: engine.threads,
            tp: engine.tp,
            type_k: &engine.kv_cache_dtype,
            type_v: &engine.kv_cache_dtype,
            test_time: &result.environment.time,
            test,
        })?;
        out.push('\n');
    }
    Ok(out)
}

/// The table's cells, and every digit.
pub fn csv(result: &Shapes) -> String {
    let mut out = String::from(
        "model,backend,test,n_prompt,n_gen,n_depth,avg_ns,stddev_ns,avg_ts,stddev_ts\n",
    );
    for test in &result.tests {
        out += &format!(
            "{},{},{},{},{},{},{},{},{},{}\n",
            quoted(&result.model.label()),
            quoted(&result.hardware.device),
            quoted(&test.test),
            test.n_prompt,
            test.n_gen,
            test.n_depth,
            test.avg_ns,
            test.stddev_ns,
            test.avg_ts,
            test.stddev_ts
        );
    }
    out
}
