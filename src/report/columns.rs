//! Which runs stand side by side: each run of ours, followed by the references of its load.

use serde_json::{Map, Value};

use crate::ground::results::{Kind, ReferenceRun, Results, Run};
use crate::reference::{same_model, short_name};

/// One run, ours or a reference.
pub(crate) struct Column<'a> {
    pub run: &'a ReferenceRun,
    /// Our run that a reference stands beside; `None` in a column of our own.
    pub beside: Option<&'a ReferenceRun>,
    /// Every metric by name, the extended ones among them.
    pub values: Map<String, Value>,
    pub head: [String; 2],
}

impl<'a> Column<'a> {
    fn ours(run: &'a ReferenceRun, played: &Run) -> Self {
        let repeat = match played.scenario.repeats {
            0 | 1 => String::new(),
            _ => format!(" #{}", played.scenario.repeat + 1),
        };
        Self {
            run,
            beside: None,
            values: values(run),
            head: [format!("{}{repeat}", load(run)), kind(run.kind).to_owned()],
        }
    }

    fn theirs(run: &'a ReferenceRun, beside: &'a ReferenceRun) -> Self {
        let hardware = &run.hardware.name;
        let name = if same_model(&run.model, &beside.model) {
            hardware.clone()
        } else {
            format!("{hardware} {}", short_name(&run.model))
        };
        Self {
            run,
            beside: Some(beside),
            values: values(run),
            head: [format!("{} {}", load(run), kind(run.kind)), name],
        }
    }
}

/// `ours` holds one run for each of `results.runs`. A reference stands beside the first run of its
/// load; one of no run's load stands last.
pub(crate) fn columns<'a>(results: &'a Results, ours: &'a [ReferenceRun]) -> Vec<Column<'a>> {
    let mut left: Vec<&ReferenceRun> = results.references.iter().collect();
    let mut columns = Vec::new();
    for (run, played) in ours.iter().zip(&results.runs) {
        columns.push(Column::ours(run, played));
        left.retain(|reference| {
            let beside = stands_beside(reference, run);
            if beside {
                columns.push(Column::theirs(reference, run));
            }
            !beside
        });
    }
    if let Some(last) = ours.last() {
        columns.extend(left.into_iter().map(|run| Column::theirs(run, last)));
    }
    columns
}

/// A run that failed before any load was played stands beside the first.
fn stands_beside(reference: &ReferenceRun, run: &ReferenceRun) -> bool {
    let failed_at_load = reference.failure.is_some() && reference.concurrency.is_none();
    failed_at_load || reference.concurrency == run.concurrency
}

fn values(run: &ReferenceRun) -> Map<String, Value> {
    let mut values = run.metrics.entries();
    if let Some(extended) = &run.extended {
        values.append(&mut extended.entries());
    }
    let figures = run.figures.iter();
    values.extend(figures.map(|(name, figure)| (name.clone(), Value::from(figure.value))));
    values
}

fn load(run: &ReferenceRun) -> String {
    match run.concurrency {
        Some(concurrency) => format!("c{concurrency}"),
        None if run.failure.is_some() => "load".to_owned(),
        None => "open".to_owned(),
    }
}

/// Where a predicted engine runs, by the name of its host's profile.
pub fn behind(server: &str) -> String {
    match server {
        "engine" => "an engine's own loop, no server".to_owned(),
        server => format!("behind {server}"),
    }
}

pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Measured => "measured",
        Kind::Predicted => "predicted",
        Kind::Virtual => "virtual",
        Kind::Reference => "reference",
    }
}
