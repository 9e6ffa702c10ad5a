//! Another tool's rate at the same load.

use super::fall::Found;
use super::level::{LeftOut, Origin};
use super::peaks::card;
use crate::ground::results::{ReferenceRun, Results};
use crate::reference::{comparable, from_run, value};

const RATE: &str = "output_tokens_per_sec";
const NONE: &str = "no result of another tool was given (--import)";

/// The first of `imports`, then of the result's references, that is of the model, card and load of a run; those that were
/// given and are not it. `tokens`: of the run.
pub fn found(
    results: &Results,
    run: usize,
    imports: &[ReferenceRun],
    tokens: f64,
) -> (Result<Found, String>, Vec<LeftOut>) {
    let Some(ours) = results.runs.get(run) else {
        return (Err(NONE.to_owned()), Vec::new());
    };
    let ours = from_run(results, ours, "this run");
    let mut chosen = None;
    let mut left_out = Vec::new();
    let given = imports.iter().map(|theirs| (theirs, true));
    for (theirs, is_given) in given.chain(results.references.iter().map(|r| (r, false))) {
        let reason = match (fits(results, &ours, theirs, tokens), &chosen) {
            (Ok(level), None) => {
                chosen = Some(level);
                continue;
            }
            (Ok(_), Some(_)) => "another result of this load stands in the waterfall".to_owned(),
            (Err(reason), _) => reason,
        };
        if is_given {
            left_out.push(LeftOut {
                name: theirs.name.clone(),
                source: theirs.source.clone(),
                reason,
            });
        }
    }
    let none = || match left_out.first() {
        Some(LeftOut { name, reason, .. }) => format!("{name}: {reason}"),
        None => NONE.to_owned(),
    };
    (chosen.ok_or_else(none), left_out)
}

fn fits(
    results: &Results,
    ours: &ReferenceRun,
    theirs: &ReferenceRun,
    tokens: f64,
) -> Result<Found, String> {
    if let Some(failure) = &theirs.failure {
        return Err(format!("it failed: {failure}"));
    }
    comparable(RATE, ours, theirs).map_err(|reason| reason.to_string())?;
    let mut unsaid = Vec::new();
    for (what, here, there) in [
        ("prompt tokens", ours.input_len, theirs.input_len),
        ("output tokens", ours.output_len, theirs.output_len),
    ] {
        match (here, there) {
            (Some(here), Some(there)) if here != there => {
                return Err(format!(
                    "the loads differ: {here} {what} here, {there} there"
                ));
            }
            (_, None) => unsaid.push(what),
            _ => {}
        }
    }
    if !same_machine(results, theirs)? {
        unsaid.push("card");
    }
    let rate = value(RATE, theirs).filter(|rate| *rate > 0.0);
    let rate = rate.ok_or_else(|| format!("its {RATE} is not above 0"))?;
    let mut note = format!("{} by {} ({})", theirs.name, theirs.backend, theirs.source);
    if !unsaid.is_empty() {
        note += &format!("; it does not say its {}", unsaid.join(", "));
    }
    for more in &theirs.notes {
        note += &format!("; {more}");
    }
    Ok(Found::new(Origin::Imported, tokens / rate).noted(note))
}

/// `false`: it does not say.
fn same_machine(results: &Results, theirs: &ReferenceRun) -> Result<bool, String> {
    let (own, other) = (&results.hardware, &theirs.hardware);
    let differ =
        |here: &str, there: &str| Err(format!("the machines differ: {here} here, {there} there"));
    if own.device == "cpu" {
        return match (&other.gpu, &other.cpu) {
            (Some(gpu), _) => differ(&own.name, gpu),
            (None, Some(cpu)) if *cpu != results.environment.cpu => differ(&own.name, cpu),
            (None, cpu) => Ok(cpu.is_some()),
        };
    }
    if other.gpu.is_none() && other.gpus == 0 {
        return Ok(false);
    }
    if other.gpus != own.count {
        let cards = |count: usize| format!("{count} cards");
        return differ(&cards(own.count), &cards(other.gpus));
    }
    let names = [other.gpu.as_deref(), Some(&*other.name)];
    let mut names = names.into_iter().flatten();
    let known = card(results).ok();
    let is_it = |name: &str| {
        let is_known = known.as_ref().is_some_and(|gpu| {
            name.eq_ignore_ascii_case(&format!("{}-x{}", gpu.name, own.count))
                || name.eq_ignore_ascii_case(&gpu.name)
                || name == gpu.full_name
        });
        name == own.name || name == own.device || is_known
    };
    match names.any(is_it) {
        true => Ok(true),
        false => differ(&own.name, other.gpu.as_deref().unwrap_or(&other.name)),
    }
}
