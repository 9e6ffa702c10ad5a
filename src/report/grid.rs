//! Runs and references side by side, as text cells: what the table and the Markdown both show.

use super::columns::{Column, columns};
use super::number::{metric, number, superscript};
use super::rows::{EXTENDED, Row, SOURCE};
use crate::ground::results::{ReferenceRun, Results};
use crate::reference::{comparable, from_results, value};

/// Marks a percentile that comes from too few values to be trusted.
const UNCERTAIN: &str = "~";
/// The metric is not one that such a run has.
const ABSENT: &str = "-";

/// Cells by section, row and column.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grid {
    /// Two lines of head for each column: the load, and whose run it is.
    pub heads: Vec<[String; 2]>,
    /// Whether a column is a run of ours, which its references follow.
    pub ours: Vec<bool>,
    pub sections: Vec<Section>,
    /// Numbered from 1 by their marks in the cells.
    pub footnotes: Vec<String>,
    pub remarks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    pub title: &'static str,
    pub rows: Vec<Line>,
    /// What no run of ours observed and no reference gives: the names by reason.
    pub not_observed: Vec<(String, Vec<&'static str>)>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Line {
    pub name: &'static str,
    pub unit: &'static str,
    pub cells: Vec<String>,
}

/// Lays out every run of `results` with its references.
pub fn grid(results: &Results) -> Grid {
    let ours = from_results(results, "this run");
    let columns = columns(results, &ours);
    let mut notes = Notes::default();
    let sections = vec![
        section("Source report's metrics", &SOURCE, &columns, &mut notes),
        section("Extended metrics", &EXTENDED, &columns, &mut notes),
    ];
    Grid {
        heads: columns.iter().map(|column| column.head.clone()).collect(),
        ours: columns.iter().map(|c| c.beside.is_none()).collect(),
        sections,
        remarks: remarks(&columns, &notes),
        footnotes: notes.footnotes,
    }
}

/// What cells refer to below the table.
#[derive(Default)]
struct Notes {
    footnotes: Vec<String>,
    uncertain: bool,
    divided: bool,
}

impl Notes {
    /// The mark of a footnote; equal texts share one.
    fn mark(&mut self, text: &str) -> String {
        let known = self.footnotes.iter().position(|note| note == text);
        let index = known.unwrap_or_else(|| {
            self.footnotes.push(text.to_owned());
            self.footnotes.len() - 1
        });
        superscript(index + 1)
    }
}

fn section(
    title: &'static str,
    rows: &'static [Row],
    columns: &[Column],
    notes: &mut Notes,
) -> Section {
    let mut section = Section {
        title,
        ..Section::default()
    };
    for row in rows {
        if let Some(reason) = observed_nowhere(row, columns) {
            let reasons = &mut section.not_observed;
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(row.name),
                None => reasons.push((reason, vec![row.name])),
            }
            continue;
        }
        section.rows.push(Line {
            name: row.name,
            unit: row.unit,
            cells: columns.iter().map(|c| cell(row, c, notes)).collect(),
        });
    }
    section
}

/// The reason of the first of our runs, when no column has a value and ours agree on it.
fn observed_nowhere(row: &Row, columns: &[Column]) -> Option<String> {
    if columns
        .iter()
        .any(|column| value(row.name, column.run).is_some())
    {
        return None;
    }
    let ours = columns.iter().filter(|column| column.beside.is_none());
    let mut reasons = ours.map(|column| column.run.not_observed.get(row.name));
    let first = reasons.next()??;
    reasons
        .all(|other| other == Some(first))
        .then(|| first.clone())
}

fn cell(row: &Row, column: &Column, notes: &mut Notes) -> String {
    let run = column.run;
    if let Some(failure) = &run.failure {
        let text = format!("{}: {failure}", run.name);
        return format!("failed{}", notes.mark(&text));
    }
    let Some(entry) = column.values.get(row.name) else {
        return ABSENT.to_owned();
    };
    let Some(mut text) = metric(entry, row.scale) else {
        let unexplained = String::new();
        let reason = run.not_observed.get(row.name).unwrap_or(&unexplained);
        return format!("n/o{}", notes.mark(&explained(reason)));
    };
    if is_uncertain(row.name, run) {
        notes.uncertain = true;
        text.push_str(UNCERTAIN);
    }
    let Some(ours) = column.beside else {
        return text;
    };
    match comparable(row.name, ours, run) {
        Ok(()) => {
            let quotient = value(row.name, ours).zip(value(row.name, run));
            let quotient = quotient.filter(|(_, theirs)| *theirs != 0.0);
            if let Some((ours, theirs)) = quotient {
                notes.divided = true;
                text = format!("{text} ({}x)", number(ours / theirs));
            }
            text
        }
        // Another total is another quantity: the reader must not divide it either.
        Err(reason @ crate::reference::Reason::Definition { .. }) => {
            format!("{text}{}", notes.mark(&reason.to_string()))
        }
        Err(_) => text,
    }
}

/// A reason's code in words.
fn explained(reason: &str) -> String {
    if reason == crate::reference::artefacts::NON_STREAMING {
        format!("{reason}: the client saw only the end of each answer")
    } else {
        reason.to_owned()
    }
}

fn is_uncertain(name: &str, run: &ReferenceRun) -> bool {
    let extended = run.extended.as_ref();
    extended.is_some_and(|e| e.low_confidence.iter().any(|low| low == name))
}

fn remarks(columns: &[Column], notes: &Notes) -> Vec<String> {
    let mut remarks = Vec::new();
    if !notes.footnotes.is_empty() {
        remarks.push("n/o: not observed".to_owned());
    }
    if notes.uncertain {
        remarks.push(format!(
            "{UNCERTAIN}: from fewer values than the percentile needs to be trusted"
        ));
    }
    if notes.divided {
        remarks.push("(..x): this run's figure over the reference's".to_owned());
    }
    for column in columns {
        let about = column.run.notes.iter();
        remarks.extend(about.map(|note| format!("{}: {note}", column.run.name)));
    }
    remarks
}
