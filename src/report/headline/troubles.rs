//! What makes the numbers doubtful.

use super::load::Load;
use crate::ground::results::{Results, Run};
use crate::report::gpus::shared;

/// Lines on the first screen; the table has them all.
const MOST: usize = 6;

/// Checks that fail, cards that others used too, requests that failed or were not played.
pub(super) fn troubles(loads: &[Load]) -> Vec<String> {
    let plays: Vec<(&Load, &Run)> = loads
        .iter()
        .flat_map(|load| load.plays.iter().map(move |run| (load, *run)))
        .collect();
    let broken = plays.iter().flat_map(|(load, run)| {
        let broken = run.checks.iter().filter(|check| !check.ok);
        broken.map(|check| {
            let name = load.play_name(run);
            format!("{name}: CHECK FAILED {}: {}", check.name, check.detail)
        })
    });
    let shared = plays.iter().flat_map(|(load, run)| {
        let shared = run.gpus.iter().filter_map(|gpu| Some((gpu, shared(gpu)?)));
        shared.map(|(gpu, how)| format!("{}: GPU {} was {how}", load.play_name(run), gpu.index))
    });
    let failed = plays.iter().filter_map(|(load, run)| failures(load, run));
    let parted = plays.iter().filter_map(|(load, run)| parted(load, run));
    let mut lines: Vec<String> = broken.chain(shared).chain(failed).chain(parted).collect();
    let rest = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    if rest > 0 {
        lines.push(format!("and {rest} more like these: --format full"));
    }
    lines
}

fn failures(load: &Load, run: &Run) -> Option<String> {
    let name = load.play_name(run);
    let reason = &run.failures.first()?.reason;
    let (failed, sent) = (run.extended.failed, run.metrics.total_requests?);
    Some(match run.extended.completed {
        0 => format!("{name}: NO REQUEST SUCCEEDED; the first failed: {reason}"),
        _ => format!("{name}: {failed} of {sent} requests FAILED; the first: {reason}"),
    })
}

/// What became of the requests of a run that did not play them all, or gave some up.
fn parted(load: &Load, run: &Run) -> Option<String> {
    let figures = &run.extended;
    let sent = run.metrics.total_requests?;
    let parts = [
        (figures.completed, "completed"),
        (figures.failed, "failed"),
        (figures.cancelled, "cancelled"),
        (figures.cut_off, "cut off"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(n, what)| format!("{n} {what}")).collect();
    let left = run.scenario.requests.filter(|_| run.cut_short.is_some());
    let left = left.map(|all| (all as u64).saturating_sub(sent));
    let unsent = match left.filter(|left| *left > 0) {
        Some(left) => format!("; {left} never sent"),
        None => String::new(),
    };
    let reason = match &run.cut_short {
        Some(reason) => format!(" ({reason})"),
        None if figures.cancelled + figures.cut_off > 0 => String::new(),
        None => return None,
    };
    let name = load.play_name(run);
    let what = parts.join(", ");
    Some(format!(
        "{name}: {sent} requests sent: {what}{unsent}{reason}"
    ))
}

pub(super) fn checks(results: &Results) -> String {
    let checks = results.runs.iter().flat_map(|run| &run.checks);
    let (held, all) = checks.fold((0, 0), |(held, all), check| {
        (held + usize::from(check.ok), all + 1)
    });
    match held == all {
        true => format!("checks: all {all} hold"),
        false => format!("checks: {held} of {all} hold"),
    }
}
