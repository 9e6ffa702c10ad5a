//! Which figures are compared, which way is better, and which decide.

use std::collections::BTreeSet;

use super::side::{Load, OPERATION, STEP};
use crate::reference::rules;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// In the order shown. The first of them decide.
const FIGURES: [(&str, Better); 20] = [
    ("output_throughput", Better::Higher),
    ("mean_ttft_ms", Better::Lower),
    ("mean_tpot_ms", Better::Lower),
    ("mean_e2el_ms", Better::Lower),
    ("request_throughput", Better::Higher),
    ("total_token_throughput", Better::Higher),
    ("input_throughput", Better::Higher),
    ("computed_input_throughput", Better::Higher),
    ("steady_output_throughput", Better::Higher),
    ("median_ttft_ms", Better::Lower),
    ("p99_ttft_ms", Better::Lower),
    ("median_tpot_ms", Better::Lower),
    ("p99_tpot_ms", Better::Lower),
    ("mean_itl_ms", Better::Lower),
    ("p99_itl_ms", Better::Lower),
    ("median_e2el_ms", Better::Lower),
    ("p99_e2el_ms", Better::Lower),
    ("mean_queue_ms", Better::Lower),
    ("request_goodput", Better::Higher),
    ("energy_per_output_token_j", Better::Lower),
];
const DECIDE: usize = 4;
/// Of llama-bench.
const TEST: &str = "avg_ts";

/// `None`: neither way is.
pub fn better(name: &str) -> Option<Better> {
    if name == STEP || name.starts_with(OPERATION) {
        return Some(Better::Lower);
    }
    if name == TEST {
        return Some(Better::Higher);
    }
    let known = FIGURES.iter().find(|(known, _)| *known == name);
    known.map(|(_, better)| *better)
}

/// Whether the verdict of all depends on it.
pub fn judged(name: &str) -> bool {
    let deciding = FIGURES.iter().take(DECIDE);
    name == STEP || name == TEST || deciding.into_iter().any(|(known, _)| *known == name)
}

/// Figures that either load has: ours, then those of tools under their own names.
pub fn names(a: &Load, b: &Load) -> Vec<String> {
    let has = |name: &str| a.value(name).is_some() || b.value(name).is_some();
    let known = FIGURES.iter().map(|(name, _)| *name);
    let mut names: Vec<String> = known.filter(|name| has(name)).map(str::to_owned).collect();
    let own: BTreeSet<&str> = a.own_names().chain(b.own_names()).collect();
    let others = own.into_iter().filter(|name| rules::twin(name).is_none());
    names.extend(others.map(str::to_owned));
    names
}
