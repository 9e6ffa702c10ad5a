//! Requests that met their objective.

use super::timing;
use crate::ground::RequestRecord;
use crate::ground::results::Slo;

const MS: f64 = 1e3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Goodput {
    /// Requests that met every bound.
    pub good: usize,
    /// Requests that missed because a bounded metric does not exist for them (a single token has
    /// no TPOT). They could not show that they met it, so they did not.
    pub null_misses: usize,
}

/// `None` when the objective bounds nothing.
pub fn goodput(successful: &[&RequestRecord], slo: Option<Slo>) -> Option<Goodput> {
    let slo = slo.filter(|slo| slo != &Slo::default())?;
    let mut goodput = Goodput::default();
    for record in successful {
        let bounds = [
            (slo.ttft_ms, timing::ttft(record)),
            (slo.tpot_ms, timing::tpot(record)),
            (slo.e2el_ms, timing::latency(record)),
        ];
        let met = |&(bound, value): &(Option<f64>, Option<f64>)| match (bound, value) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(bound), Some(seconds)) => seconds * MS <= bound,
        };
        if bounds.iter().all(met) {
            goodput.good += 1;
        } else if bounds.iter().any(|(b, v)| b.is_some() && v.is_none()) {
            goodput.null_misses += 1;
        }
    }
    Some(goodput)
}
