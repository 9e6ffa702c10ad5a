//! What must hold in the record of any request, whatever ran it.

use super::timing;
use crate::ground::RequestRecord;

/// Seconds.
const IDENTITY_TOLERANCE: f64 = 1e-6;

pub(super) fn breaks_identity(record: &RequestRecord) -> Option<String> {
    let e2el = timing::latency(record)?;
    let rest = timing::gaps(record).count() as f64 * timing::tpot(record).unwrap_or(0.0);
    let sum = timing::ttft(record)? + rest;
    // Not a number is not equal either.
    let holds = (e2el - sum).abs() <= IDENTITY_TOLERANCE;
    (!holds).then(|| format!("E2EL {e2el} s, but TTFT + (n - 1) x TPOT = {sum} s"))
}

/// `before`: arrival of the request before.
pub(super) fn breaks_order(record: &RequestRecord, before: f64) -> Option<String> {
    if record.arrival < before {
        return Some(format!(
            "arrives at {} s, and the one before it at {before} s",
            record.arrival
        ));
    }
    if record.tokens.len() != record.output_tokens {
        return Some(format!(
            "{} output tokens, but {} time stamps",
            record.output_tokens,
            record.tokens.len()
        ));
    }
    let stamps = std::iter::once(record.arrival)
        .chain(record.submitted)
        .chain(record.admitted)
        .chain(record.tokens.iter().copied());
    let mut before = f64::NEG_INFINITY;
    for stamp in stamps {
        if stamp < before {
            return Some(format!("{stamp} s follows {before} s"));
        }
        before = stamp;
    }
    None
}
