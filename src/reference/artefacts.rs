//! What a published row says without having measured it. Told from the figures themselves, so that
//! any file of the same shape gets the same treatment.

use std::collections::BTreeMap;

use crate::ground::results::{ClientMode, ThroughputDefinition};

/// The client saw only the end of an answer and wrote its time down as the first token's.
pub const NON_STREAMING: &str = "not_observable_non_streaming";
/// A CPU that serves is not idle.
pub const ZERO_CPU: &str = "the source prints 0 for a CPU that was serving";

/// Figures that a client without streaming cannot have seen.
pub const NEEDS_STREAMING: [&str; 5] = [
    "avg_first_token_latency",
    "avg_tpot",
    "p95_tpot",
    "min_tpot",
    "max_tpot",
];

/// Relative difference below which two published figures are the same one, rounded twice.
const SAME_FIGURE: f64 = 1e-3;
/// The same for a sum of rounded figures.
const SAME_SUM: f64 = 5e-3;

type Raw = BTreeMap<String, f64>;

/// Non-streaming when the first token's latency is the latency and the time between tokens is 0.
pub fn client_mode(raw: &Raw) -> ClientMode {
    let Some(ttft) = raw.get("avg_first_token_latency") else {
        return ClientMode::Unknown;
    };
    let is_latency = raw
        .get("avg_latency")
        .is_some_and(|latency| close(*ttft, *latency, SAME_FIGURE));
    let no_tpot = raw.get("avg_tpot").is_some_and(|tpot| *tpot == 0.0);
    if is_latency && no_tpot {
        ClientMode::NonStreaming
    } else {
        ClientMode::Streaming
    }
}

/// Which tokens `overall_total_throughput` counts: the output rate equals it, or lacks the input
/// rate to it. An output rate that was not published follows from tokens and duration.
pub fn throughput_definition(raw: &Raw) -> Option<ThroughputDefinition> {
    let total = *raw.get("overall_total_throughput")?;
    let output = match raw.get("output_tokens_per_sec") {
        Some(output) => *output,
        None => raw.get("total_tokens_generated")? / raw.get("total_duration")?,
    };
    let input = *raw.get("input_tokens_per_sec")?;
    if close(output, total, SAME_FIGURE) {
        Some(ThroughputDefinition::Output)
    } else if close(input + output, total, SAME_SUM) {
        Some(ThroughputDefinition::InputAndOutput)
    } else {
        None
    }
}

/// By metric name, why a published figure is not a measurement.
pub fn artefacts(raw: &Raw) -> BTreeMap<String, String> {
    let mut artefacts = BTreeMap::new();
    if client_mode(raw) == ClientMode::NonStreaming {
        let published = NEEDS_STREAMING.into_iter();
        for name in published.filter(|name| raw.contains_key(*name)) {
            artefacts.insert(name.to_owned(), NON_STREAMING.to_owned());
        }
    }
    if raw
        .get("cpu_percent")
        .is_some_and(|percent| *percent == 0.0)
    {
        artefacts.insert("cpu_percent".to_owned(), ZERO_CPU.to_owned());
    }
    artefacts
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() < tolerance * b.abs()
}
