//! How the output rate stands to other people's runs.

use std::ops::Range;

use super::load::Load;
use crate::ground::results::{Kind, ReferenceRun, Results};
use crate::reference::{Reason, comparable, from_results, value};
use crate::report::columns::{self, columns};
use crate::report::number::number;

/// By the report's name: a published run has no other.
const OUTPUT: &str = "output_tokens_per_sec";
/// Ratios of which two decimals tell enough.
const GLANCE: Range<f64> = 0.1..100.0;

/// One reference run beside one load.
struct Answer<'a> {
    /// `None`: the reference failed before any load.
    load: Option<&'a str>,
    /// Ours over theirs, or why that says nothing.
    ratio: Result<f64, String>,
}

/// A line for each machine that references ran on.
pub(super) fn beside(results: &Results, loads: &[Load]) -> Vec<String> {
    let machines = machines(results, loads);
    let lines = machines.iter();
    lines
        .map(|(machine, answers)| line(results.kind, machine, answers, loads.len()))
        .collect()
}

/// How `load` stands to each machine whose figure divides it.
pub(super) fn against(results: &Results, loads: &[Load], load: &Load) -> Vec<String> {
    let machines = machines(results, loads).into_iter();
    let clause = |(machine, answers): (String, Vec<Answer>)| {
        let of_load = answers.iter().find(|a| a.load == Some(&*load.name))?;
        let ratio = of_load.ratio.as_ref().ok()?;
        Some(format!("{} the output rate of {machine}", times(*ratio)))
    };
    machines.filter_map(clause).collect()
}

fn machines<'a>(results: &Results, loads: &'a [Load]) -> Vec<(String, Vec<Answer<'a>>)> {
    let ours = from_results(results, "this run");
    let mut machines: Vec<(String, Vec<Answer>)> = Vec::new();
    // A reference's column follows the run of ours that it stands beside.
    let mut runs = results.runs.iter();
    let mut load = None;
    for column in columns(results, &ours) {
        let Some(beside) = column.beside else {
            let run = runs.next();
            load = loads
                .iter()
                .find(|load| run.is_some_and(|run| load.has(run)));
            continue;
        };
        let Some(load) = load else {
            continue;
        };
        let theirs = column.run;
        let answer = Answer {
            load: theirs.concurrency.map(|_| load.name.as_str()),
            ratio: ratio(load, beside, theirs),
        };
        let machine = machine(theirs);
        match machines.iter_mut().find(|(known, _)| *known == machine) {
            Some((_, answers)) => answers.push(answer),
            None => machines.push((machine, vec![answer])),
        }
    }
    machines
}

fn machine(theirs: &ReferenceRun) -> String {
    let kind = columns::kind(theirs.kind);
    format!("{kind} {} ({})", theirs.hardware.name, theirs.backend)
}

fn ratio(load: &Load, ours: &ReferenceRun, theirs: &ReferenceRun) -> Result<f64, String> {
    if let Some(failure) = &theirs.failure {
        return Err(format!("it failed: {failure}"));
    }
    if [ours.kind, theirs.kind].contains(&Kind::Virtual) {
        return Err("no time of a virtual GPU is a measurement".to_owned());
    }
    comparable(OUTPUT, ours, theirs).map_err(|reason| match reason {
        Reason::NotObserved { reason, .. } => {
            let place = match value(OUTPUT, ours) {
                Some(_) => "there",
                None => "here",
            };
            format!("{reason} {place}")
        }
        other => other.to_string(),
    })?;
    let mean = load.mean("output_throughput");
    let ratio = mean.zip(value(OUTPUT, theirs)).map(|(a, b)| a / b);
    let ratio = ratio.filter(|ratio| ratio.is_finite());
    ratio.ok_or_else(|| "one of them has no output tok/s".to_owned())
}

fn line(kind: Kind, machine: &str, answers: &[Answer], loads: usize) -> String {
    let reasons: Vec<&String> = answers
        .iter()
        .filter_map(|a| a.ratio.as_ref().err())
        .collect();
    let none = reasons.len() == answers.len() && reasons.windows(2).all(|two| two[0] == two[1]);
    let everywhere = answers.len() == loads || answers.iter().all(|a| a.load.is_none());
    if let (true, [reason, ..]) = (none && everywhere, &reasons[..]) {
        return format!("{machine}: not comparable: {reason}");
    }
    let whose = match kind {
        Kind::Measured => String::new(),
        other => format!("{} ", columns::kind(other)),
    };
    let answers: Vec<String> = answers.iter().map(words).collect();
    let answers = answers.join(", ");
    format!("{whose}output tok/s over {machine}: {answers}")
}

fn words(answer: &Answer) -> String {
    let load = answer.load.map_or(String::new(), |load| format!("{load} "));
    match &answer.ratio {
        Ok(ratio) => format!("{load}{}", times(*ratio)),
        Err(reason) => format!("{load}not comparable ({reason})"),
    }
}

/// As fine as a glance needs.
fn times(ratio: f64) -> String {
    match GLANCE.contains(&ratio) {
        true => format!("{ratio:.2}x"),
        false => format!("{}x", number(ratio)),
    }
}
