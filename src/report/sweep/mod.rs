//! Points of a sweep: one table, as text, Markdown, CSV and JSON, and a plot of the frontier.

mod plot;

use std::collections::BTreeSet;

use serde_json::Value;

use super::csv::quoted;
use super::layout::{GAP, chars};
use super::markdown::escaped;
use super::number::number;
use crate::capacity::{PointRow, Sweep};

pub use plot::svg;

const FIGURES: [&str; 6] = [
    "tok/s",
    "tok/s/GPU",
    "tok/s/user",
    "TTFT ms",
    "TPOT ms",
    "frontier",
];
const ON_IT: &str = "*";

/// Heads, and the cells of every point.
struct Cells {
    settings: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    settings: Vec<String>,
    figures: [String; 6],
    error: Option<String>,
}

fn cells(swept: &Sweep) -> Cells {
    let mut flags: Vec<String> = Vec::new();
    for flag in swept.points.iter().flat_map(|point| point.settings.keys()) {
        if !flags.contains(flag) {
            flags.push(flag.clone());
        }
    }
    let on_it: BTreeSet<usize> = swept.frontier.iter().copied().collect();
    let rows = swept.points.iter().enumerate().map(|(index, point)| {
        let setting = |flag: &String| point.settings.get(flag).map_or(String::new(), shown);
        Row {
            settings: flags.iter().map(setting).collect(),
            figures: figures(point, on_it.contains(&index)),
            error: point.error.clone(),
        }
    });
    Cells {
        rows: rows.collect(),
        settings: flags,
    }
}

fn figures(point: &PointRow, is_on_it: bool) -> [String; 6] {
    let extended = point.extended.as_ref();
    let figure = |value: Option<f64>| value.map_or("-".to_owned(), number);
    [
        figure(extended.and_then(|figures| figures.output_throughput)),
        figure(point.tokens_per_s_per_gpu),
        figure(point.tokens_per_s_per_user),
        figure(extended.and_then(|figures| figures.ttft.mean_ttft_ms)),
        figure(extended.and_then(|figures| figures.tpot.mean_tpot_ms)),
        match is_on_it {
            true => ON_IT.to_owned(),
            false => String::new(),
        },
    ]
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Columns; a point that failed says why behind its settings.
pub fn table(swept: &Sweep) -> String {
    let cells = cells(swept);
    let heads = cells.settings.iter().cloned();
    let heads: Vec<String> = heads.chain(FIGURES.map(str::to_owned)).collect();
    let line = |row: &Row| -> Vec<String> {
        let figures = match row.error {
            Some(_) => &[][..],
            None => &row.figures[..],
        };
        row.settings.iter().chain(figures).cloned().collect()
    };
    let lines: Vec<Vec<String>> = cells.rows.iter().map(line).collect();
    let width = |column: usize| {
        let all = [&heads].into_iter().chain(&lines);
        let widths = all
            .filter_map(|line| line.get(column))
            .map(|cell| chars(cell));
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut out = String::new();
    let errors = cells.rows.iter().map(|row| row.error.as_deref());
    for (cells, error) in [(&heads, None)].into_iter().chain(lines.iter().zip(errors)) {
        let mut text = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column] + if column == 0 { 0 } else { GAP };
            text += &format!("{cell:>width$}");
        }
        if let Some(error) = error {
            text += &format!("{:GAP$}failed: {error}", "");
        }
        out += text.trim_end();
        out.push('\n');
    }
    out.push('\n');
    out + &note(swept) + "\n"
}

fn note(swept: &Sweep) -> String {
    let failed = swept.points.iter().filter(|point| point.error.is_some());
    let seconds: f64 = swept.points.iter().map(|point| point.seconds).sum();
    let partial = match swept.partial {
        true => "; partial: the same command goes on",
        false => "",
    };
    format!(
        "{} points, {} failed, {} s of playing{partial}; {ON_IT}: no other point is faster for a user and for a GPU",
        swept.points.len(),
        failed.count(),
        number(seconds)
    )
}

/// The table, and the frontier as one of its own.
pub fn markdown(swept: &Sweep) -> String {
    let cells = cells(swept);
    let mut out = String::from("# Sweep\n\n");
    let all: Vec<usize> = (0..cells.rows.len()).collect();
    rows(&mut out, &cells, &all);
    out += "\n## Frontier\n\nOutput tokens a second of a GPU against those that a user sees (`frontier.svg`):\n\n";
    rows(&mut out, &cells, &swept.frontier);
    out + "\n" + &escaped(&note(swept)) + "\n"
}

fn rows(out: &mut String, cells: &Cells, indices: &[usize]) {
    let heads = cells.settings.iter().map(|flag| escaped(flag));
    let heads: Vec<String> = heads.chain(FIGURES.map(str::to_owned)).collect();
    *out += &format!("| {} |\n", heads.join(" | "));
    *out += &format!("|{}\n", "---:|".repeat(heads.len()));
    for row in indices.iter().filter_map(|&index| cells.rows.get(index)) {
        let mut line: Vec<String> = row.settings.iter().map(|cell| escaped(cell)).collect();
        match &row.error {
            Some(error) => {
                line.push(format!("failed: {}", escaped(error)));
                line.resize(heads.len(), String::new());
            }
            None => line.extend(row.figures.iter().map(|cell| escaped(cell))),
        }
        *out += &format!("| {} |\n", line.join(" | "));
    }
}

/// Full precision, an empty value with its reason where a point failed.
pub fn csv(swept: &Sweep) -> String {
    let cells = cells(swept);
    let flags = cells.settings.iter().map(|flag| quoted(flag) + ",");
    let mut out: String = flags.collect();
    out += "output_throughput,tokens_per_s_per_gpu,tokens_per_s_per_user,mean_ttft_ms,mean_tpot_ms,frontier,error\n";
    for (index, (point, row)) in swept.points.iter().zip(&cells.rows).enumerate() {
        let extended = point.extended.as_ref();
        let figures = [
            extended.and_then(|figures| figures.output_throughput),
            point.tokens_per_s_per_gpu,
            point.tokens_per_s_per_user,
            extended.and_then(|figures| figures.ttft.mean_ttft_ms),
            extended.and_then(|figures| figures.tpot.mean_tpot_ms),
        ];
        let figures = figures.map(|value| value.map_or(String::new(), |value| value.to_string()));
        let error = point.error.as_deref().map_or(String::new(), quoted);
        let settings = row.settings.iter().map(|cell| quoted(cell) + ",");
        out += &settings.collect::<String>();
        out += &format!(
            "{},{},{error}\n",
            figures.join(","),
            swept.frontier.contains(&index)
        );
    }
    out
}

/// `sweep.json`: one object, indented.
///
/// # Errors
/// A number outside JSON.
pub fn json(swept: &Sweep) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(swept)?;
    text.push('\n');
    Ok(text)
}
