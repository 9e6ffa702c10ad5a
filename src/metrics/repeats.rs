//! The spread over repeats of a scenario: one run is an anecdote.

use std::collections::BTreeMap;

use super::quantile::{moments, ratio};
use crate::ground::results::{RepeatSummary, Run, Spread};

/// Fewer runs give no useful interval.
const FEWEST: usize = 3;

/// What is worth an interval.
const METRICS: [&str; 12] = [
    "request_throughput",
    "output_throughput",
    "total_token_throughput",
    "steady_output_throughput",
    "mean_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
    "p99_tpot_ms",
    "mean_itl_ms",
    "mean_e2el_ms",
    "p99_e2el_ms",
    "mean_queue_ms",
];

/// Student's t, two-sided 95 %, for 2 to 10 degrees of freedom (tables of any textbook).
const T_975: [f64; 9] = [
    4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004, 2.262_157,
    2.228_139,
];
/// Normal quantile that t tends to.
const Z_975: f64 = 1.959_964;

/// One summary a scenario that was played `FEWEST` times or more, in order of first play.
pub fn summarize(runs: &[Run]) -> Vec<RepeatSummary> {
    let mut groups: Vec<Vec<&Run>> = Vec::new();
    for run in runs {
        match groups.iter_mut().find(|group| same(group[0], run)) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups.retain(|group| group.len() >= FEWEST);
    groups.iter().map(|group| summary(group)).collect()
}

/// The same scenario, whichever its repeat.
fn same(a: &Run, b: &Run) -> bool {
    let mut scenario = a.scenario.clone();
    scenario.repeat = b.scenario.repeat;
    scenario == b.scenario
}

fn summary(group: &[&Run]) -> RepeatSummary {
    let tables: Vec<_> = group.iter().map(|run| run.extended.entries()).collect();
    let spreads = METRICS.into_iter().filter_map(|name| {
        let values: Option<Vec<f64>> = tables.iter().map(|t| t.get(name)?.as_f64()).collect();
        Some((name.to_owned(), spread(&values?)?))
    });
    RepeatSummary {
        scenario: group[0].scenario.name.clone(),
        concurrency: group[0].scenario.concurrency,
        runs: group.len(),
        metrics: spreads.collect::<BTreeMap<_, _>>(),
    }
}

/// Mean and 95 % interval; `None` below `FEWEST` values.
pub fn spread(values: &[f64]) -> Option<Spread> {
    if values.len() < FEWEST {
        return None;
    }
    let (mean, squares) = moments(values)?;
    let freedom = values.len() - 1;
    let std = (squares / freedom as f64).sqrt();
    let half = t_975(freedom) * std / (values.len() as f64).sqrt();
    Some(Spread {
        mean,
        std,
        cv: ratio(std, mean.abs()),
        ci95_low: mean - half,
        ci95_high: mean + half,
    })
}

/// Beyond the table, the first two terms of t's expansion around the normal quantile (Cornish and
/// Fisher): within 0.1 % there.
fn t_975(freedom: usize) -> f64 {
    let z = Z_975;
    let n = freedom as f64;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let expanded = z + first / n + second / (n * n);
    T_975
        .get(freedom.wrapping_sub(2))
        .copied()
        .unwrap_or(expanded)
}
