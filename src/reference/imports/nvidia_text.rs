//! AIPerf's and GenAI-Perf's tables: CSV exports, GenAI-Perf's comparison of configurations, and its console table.

use super::csv;
use super::nvidia::{Metric, Table, table, tag};
use super::value::{MOST, count, parsed};
use crate::ground::results::ReferenceRun;

/// Metrics of which every table of theirs has one.
const KNOWN: [&str; 3] = ["request_latency", "request_throughput", "request_count"];
/// Lines of a box, and the bars between its cells.
const BOX: [char; 2] = ['│', '┃'];
/// Behind the name of a rate that stands under GenAI-Perf's older table.
const PER_SECOND: &str = "(per sec):";

pub fn is_csv(text: &str) -> bool {
    let first = text.trim_start().lines().next().unwrap_or_default();
    first.starts_with("Metric,") || first.starts_with("Config Name,")
}

pub fn is_console(text: &str) -> bool {
    text.contains(BOX) && text.to_lowercase().contains("request latency")
}

/// A CSV export.
pub fn read_csv(text: &str, source: &str) -> Vec<ReferenceRun> {
    let rows = csv::rows(text.trim_start(), ',');
    let head = rows.first().and_then(|row| row.first());
    match head.map(String::as_str) {
        Some("Config Name") => configurations(&rows, source),
        _ => {
            let found = statistics(&rows);
            of_table(&found, source, false)
        }
    }
}

/// Blocks of rows, each under a header that begins with `Metric`. Another header ends what is the run's.
fn statistics(rows: &[Vec<String>]) -> Table {
    let mut found = Table::new();
    let mut header: &[String] = &[];
    for row in rows {
        match row.first().map(String::as_str) {
            None => {}
            Some("Metric") => header = row,
            // Of GPUs: other columns.
            Some("Endpoint") => break,
            Some(name) => {
                let (name, unit) = tag(name);
                let statistics = header.iter().zip(row).skip(1).filter_map(|(head, cell)| {
                    let statistic = if head == "Value" { "avg" } else { head };
                    Some((statistic.to_owned(), parsed(cell)?))
                });
                let statistics = statistics.collect();
                found.insert(name, Metric { unit, statistics });
            }
        }
    }
    found
}

/// One run a row, its metrics in the columns: `p99 Request Latency (ms)`.
fn configurations(rows: &[Vec<String>], source: &str) -> Vec<ReferenceRun> {
    let Some(header) = rows.first() else {
        return Vec::new();
    };
    let block = rows.iter().skip(1).take_while(|row| !row.is_empty());
    let run = |row: &Vec<String>| {
        let mut found = Table::new();
        let mut draft_load = None;
        for (head, cell) in header.iter().zip(row).skip(1) {
            let Some(value) = parsed(cell) else {
                continue;
            };
            if head == "Concurrency" {
                draft_load = count(value).map(|value| value as usize);
                continue;
            }
            let (statistic, name) = match head.split_once(' ') {
                Some(("Avg.", name)) => ("avg", name),
                Some((first, name)) if is_statistic(first) => (first, name),
                _ => ("avg", head.as_str()),
            };
            let (name, unit) = tag(name);
            let metric = found.entry(name).or_default();
            metric.unit = unit;
            metric.statistics.insert(statistic.to_owned(), value);
        }
        let mut draft = table(&found, source, false);
        draft.run.concurrency = draft_load;
        let name = row.first().cloned().unwrap_or_default();
        draft.run.name = format!("GenAI-Perf/{name}");
        draft.finish()
    };
    block.take(MOST + 1).map(run).collect()
}

fn is_statistic(word: &str) -> bool {
    let percent = word.strip_prefix('p').unwrap_or_default();
    let is_percentile = !percent.is_empty() && percent.bytes().all(|b| b.is_ascii_digit());
    is_percentile || matches!(word, "min" | "max" | "std")
}

fn of_table(found: &Table, source: &str, own: bool) -> Vec<ReferenceRun> {
    let is_known = KNOWN.iter().any(|name| found.contains_key(*name));
    let run = || table(found, source, own).finish();
    is_known.then(run).into_iter().collect()
}

/// A table drawn with lines, and rates under it.
pub fn read_console(text: &str, source: &str) -> Vec<ReferenceRun> {
    let mut found = Table::new();
    let mut header = Vec::new();
    let mut own = false;
    for line in text.lines() {
        if line.starts_with(BOX) {
            let cells = line.trim_matches(BOX).split(BOX).map(str::trim);
            let cells: Vec<&str> = cells.collect();
            let Some(name) = cells.first() else {
                continue;
            };
            // AIPerf's, and GenAI-Perf's.
            if ["Metric", "Statistic"].contains(name) {
                own = *name == "Metric";
                header = cells.iter().map(|cell| (*cell).to_owned()).collect();
                continue;
            }
            // The unit of a long name stands under it.
            if name.starts_with('(') || name.is_empty() {
                continue;
            }
            let (name, unit) = tag(name);
            let statistics = header.iter().zip(&cells).skip(1);
            let statistics =
                statistics.filter_map(|(head, cell)| Some((head.clone(), parsed(cell)?)));
            let statistics = statistics.collect();
            found.insert(name, Metric { unit, statistics });
        } else if let Some((name, value)) = line.split_once(PER_SECOND) {
            let metric = found.entry(tag(name).0).or_default();
            let value = parsed(value).map(|value| ("avg".to_owned(), value));
            metric.statistics.extend(value);
        }
    }
    of_table(&found, source, own)
}
