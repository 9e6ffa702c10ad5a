//! What each request was to keep, in words.

use crate::ground::results::Slo;

/// Such as `TTFT <= 500 ms, TPOT <= 50 ms`; empty where nothing was asked.
pub fn limits(slo: &Slo) -> String {
    let limits = [
        ("TTFT", slo.ttft_ms),
        ("TPOT", slo.tpot_ms),
        ("E2EL", slo.e2el_ms),
    ];
    let given = limits.iter();
    let given = given.filter_map(|(name, ms)| Some(format!("{name} <= {} ms", (*ms)?)));
    given.collect::<Vec<_>>().join(", ")
}
