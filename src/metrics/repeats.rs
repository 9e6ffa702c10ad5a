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

/// Two-sided 95 %.
const LEVEL: f64 = 0.95;
/// Halvings after which a quantile's bracket is narrower than its last digit.
const HALVINGS: usize = 80;
/// Above every quantile that is asked for.
const T_ABOVE_ALL: f64 = 1e6;

/// One summary a scenario that was played `FEWEST` times or more, in order of first play.
pub fn summarize(runs: &[Run]) -> Vec<RepeatSummary> {
    let mut plays = plays(runs);
    plays.retain(|group| group.len() >= FEWEST);
    plays.iter().map(|group| summary(group)).collect()
}

/// The runs of each scenario, in order of first play.
pub fn plays(runs: &[Run]) -> Vec<Vec<&Run>> {
    let mut groups: Vec<Vec<&Run>> = Vec::new();
    for run in runs {
        let scenario = run.scenario.unrepeated();
        let same = |group: &&mut Vec<&Run>| group[0].scenario.unrepeated() == scenario;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
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
    let half = t_quantile(LEVEL, freedom) * std / (values.len() as f64).sqrt();
    Some(Spread {
        mean,
        std,
        cv: ratio(std, mean.abs()),
        ci95_low: mean - half,
        ci95_high: mean + half,
    })
}

/// What |t| of Student stays below with the probability `level`, for one or more degrees of freedom.
pub fn t_quantile(level: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, T_ABOVE_ALL);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        match t_within(middle, freedom) < level {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// Probability that |t| is at most `t`: the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4.
fn t_within(t: f64, freedom: usize) -> f64 {
    let n = freedom as f64;
    let angle = (t / n.sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let odd = freedom % 2 == 1;
    let mut term = if odd { cos } else { 1.0 };
    let mut sum = 0.0;
    let mut k = if odd { 3 } else { 2 };
    while k <= freedom {
        sum += term;
        term *= cos * cos * (k - 1) as f64 / k as f64;
        k += 2;
    }
    match odd {
        true => 2.0 / std::f64::consts::PI * (angle + sin * sum),
        false => sin * sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, expected) in [
            (2, 4.302652729749459),
            (3, 3.182446305283706),
            (4, 2.7764451051977908),
            (9, 2.262157162798204),
            (30, 2.042272456301236),
            (100, 1.983971518523551),
        ] {
            let found = t_quantile(LEVEL, freedom);
            assert!((found - expected).abs() < 1e-9, "{freedom}: {found}");
        }
    }
}
