//! A waterfall as a table or Markdown.

use std::fmt::Write;

use super::layout::{GAP, chars, wrapped};
use super::markdown::escaped;
use super::number::number;
use crate::comparison::waterfall::{Level, Waterfall};
use crate::reference::short_name;

const HEADS: [&str; 5] = ["level", "tok/s", "lost", "of the top", "origin"];
const PERCENT: f64 = 100.0;
/// Part of the highest level.
const ROUNDING: f64 = 1e-9;
const NOT_OBSERVED: &str = "not observed";

/// A level, or a part of what it lost.
struct Row {
    name: String,
    figures: [String; 3],
    origin: &'static str,
    is_part: bool,
}

fn rows(waterfall: &Waterfall) -> Vec<Row> {
    let top = top(waterfall);
    // What rounding leaves of nothing is nothing.
    let clean = |value: f64| match top {
        Some(top) if value.abs() < ROUNDING * top => 0.0,
        _ => value,
    };
    let number = |value: f64| number(clean(value));
    let share = |lost: f64| match top {
        Some(top) if top > 0.0 => format!("{:.2} %", PERCENT * clean(lost) / top),
        _ => String::new(),
    };
    let shown = |value: Option<f64>| value.map_or(String::new(), number);
    let mut rows = Vec::new();
    for level in &waterfall.levels {
        rows.push(Row {
            name: level.name.to_string(),
            figures: [
                shown(level.tokens_per_s),
                shown(level.lost),
                level.lost.map_or(String::new(), share),
            ],
            origin: level.origin.map_or(NOT_OBSERVED, |origin| origin.word()),
            is_part: false,
        });
        rows.extend(level.parts.iter().map(|part| Row {
            name: part.name.clone(),
            figures: [String::new(), number(part.lost), share(part.lost)],
            origin: "",
            is_part: true,
        }));
    }
    rows
}

fn observed(waterfall: &Waterfall) -> impl Iterator<Item = (&Level, f64)> {
    let levels = waterfall.levels.iter();
    levels.filter_map(|level| Some((level, level.tokens_per_s?)))
}

fn top(waterfall: &Waterfall) -> Option<f64> {
    observed(waterfall).next().map(|(_, rate)| rate)
}

fn title(waterfall: &Waterfall) -> String {
    let Waterfall {
        run,
        model,
        device,
        hardware,
        count,
        ..
    } = waterfall;
    let count = match count {
        0 | 1 => String::new(),
        count => format!("{count} x "),
    };
    let model = short_name(model);
    format!("{model} on {count}{hardware} ({device}), {run}")
}

/// The whole in a sentence: from where to where, and where most is lost.
fn sum(waterfall: &Waterfall) -> String {
    let mut levels = observed(waterfall);
    let (Some((first, top)), Some((last, bottom))) = (levels.next(), levels.last()) else {
        return "fewer than two levels were observed: nothing can be told apart".to_owned();
    };
    let by_loss = |a: &&Level, b: &&Level| a.lost.unwrap_or(0.0).total_cmp(&b.lost.unwrap_or(0.0));
    let most = waterfall.levels.iter().max_by(by_loss);
    let most = most.and_then(|level| Some((level, level.lost.filter(|lost| *lost > 0.0)?)));
    let most = most.map_or(String::new(), |(level, lost)| {
        format!(", most of it at {}: {}", level.name, number(lost))
    });
    format!(
        "{} {} - {} lost = {} {} tok/s{most}",
        first.name,
        number(top),
        number(top - bottom),
        last.name,
        number(bottom)
    )
}

/// Reasons, notes, and results that were left out.
fn remarks(waterfall: &Waterfall) -> Vec<String> {
    let mut remarks = Vec::new();
    for level in &waterfall.levels {
        if let Some(reason) = &level.reason {
            remarks.push(format!("{}: {NOT_OBSERVED}: {reason}", level.name));
        }
        if let Some(note) = &level.note {
            remarks.push(format!("{}: {note}", level.name));
        }
    }
    let left_out = waterfall.left_out.iter();
    remarks.extend(left_out.map(|one| format!("left out: {}: {}", one.name, one.reason)));
    remarks
}

/// At most `width` wide, but for the table; `definitions`: what each level is, below it.
pub fn table(waterfall: &Waterfall, width: usize, definitions: bool) -> String {
    let rows = rows(waterfall);
    let cells = |row: &Row| {
        let indent = if row.is_part { GAP } else { 0 };
        let [rate, lost, share] = row.figures.clone();
        let name = format!("{:indent$}{}", "", row.name);
        [name, rate, lost, share, row.origin.to_owned()]
    };
    let heads = HEADS.map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heads)
        .chain(rows.iter().map(cells))
        .collect();
    let mut out = wrapped(&title(waterfall), 0, GAP, width);
    out.push('\n');
    for line in &lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| chars(&line[column])).max();
            let width = width.unwrap_or(0);
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                4 => write!(text, "{:GAP$}{cell}", ""),
                _ => write!(text, "{:GAP$}{cell:>width$}", ""),
            };
        }
        out += text.trim_end();
        out.push('\n');
    }
    out.push('\n');
    out += &wrapped(&sum(waterfall), 0, GAP, width);
    for remark in remarks(waterfall) {
        out += &wrapped(&remark, 0, GAP, width);
    }
    if definitions {
        out.push('\n');
        for level in &waterfall.levels {
            let text = format!("{}: {}", level.name, level.definition);
            out += &wrapped(&text, 0, GAP, width);
        }
    }
    out
}

pub fn markdown(waterfall: &Waterfall) -> String {
    let mut out = format!(
        "**{}**\n\n| {} |\n|---|---:|---:|---:|---|\n",
        escaped(&title(waterfall)),
        HEADS.join(" | ")
    );
    for row in rows(waterfall) {
        let name = match row.is_part {
            true => format!("&ensp;{}", escaped(&row.name)),
            false => escaped(&row.name),
        };
        let _ = writeln!(
            out,
            "| {name} | {} | {} |",
            row.figures.join(" | "),
            row.origin
        );
    }
    let _ = writeln!(out, "\n{}\n", escaped(&sum(waterfall)));
    for remark in remarks(waterfall) {
        let _ = writeln!(out, "- {}", escaped(&remark));
    }
    for level in &waterfall.levels {
        let _ = writeln!(out, "- *{}*: {}", level.name, level.definition);
    }
    out
}
