//! Requests that met their objective.

use super::timing;
use crate::ground::RequestRecord;
use crate::ground::results::Slo;

const MS: f64 = 1e3;

/// Of successful requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Goodput {
    /// Requests that met every bound.
    pub good: usize,
    /// Requests that missed because a bounded metric does not exist for them (a single token has
    /// no TPOT). They could not show that they met it, so they did not.
    pub null_misses: usize,
}

impl Goodput {
    pub fn add(&mut self, record: &RequestRecord, slo: Slo) {
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
            self.good += 1;
        } else if bounds.iter().any(|(b, v)| b.is_some() && v.is_none()) {
            self.null_misses += 1;
        }
    }
}
