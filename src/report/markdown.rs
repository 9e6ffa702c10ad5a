//! `summary.md`: the same grid as the console, for a page.

use std::fmt::Write;

use super::grid::{Grid, Section, grid};
use super::number::superscript;
use super::table::{closing, title};
use crate::ground::results::Results;

/// A heading, one table a section, and the notes below.
pub fn markdown(results: &Results) -> String {
    let grid = grid(results);
    let mut out = format!("# {}\n\n", escaped(&results.model.name));
    for line in title(results).lines() {
        let _ = writeln!(out, "{}  ", escaped(line));
    }
    for section in &grid.sections {
        table(&mut out, &grid, section);
    }
    out.push('\n');
    for section in &grid.sections {
        for (reason, names) in &section.not_observed {
            let names = names.join(", ");
            let _ = writeln!(out, "- not observed ({}): {names}", escaped(reason));
        }
    }
    for (index, note) in grid.footnotes.iter().enumerate() {
        let _ = writeln!(out, "- {} {}", superscript(index + 1), escaped(note));
    }
    for line in grid.remarks.iter().chain(&closing(results)) {
        let _ = writeln!(out, "- {}", escaped(line));
    }
    out
}

fn table(out: &mut String, grid: &Grid, section: &Section) {
    let _ = write!(out, "\n## {}\n\n| metric | unit |", section.title);
    for [load, whose] in &grid.heads {
        let _ = write!(out, " {} {} |", escaped(load), escaped(whose));
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---:|".repeat(grid.heads.len()));
    out.push('\n');
    for row in &section.rows {
        let _ = write!(out, "| {} | {} |", row.name, row.unit);
        for cell in &row.cells {
            let _ = write!(out, " {} |", escaped(cell));
        }
        out.push('\n');
    }
}

/// Keeps a name from being read as markup.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '#' | '<' | '~' | '`' | '[' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}
