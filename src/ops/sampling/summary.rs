//! What one rank tells of one row of its logits: enough for every rank to draw the same token,
//! though none sees more than its own part of the vocabulary.

use super::noise::Noise;
use crate::ops::row;

/// What is asked of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// Of the logits.
    pub row: usize,
    /// The highest logits to list.
    pub count: usize,
    /// `mass` is at this temperature; 0: no mass is wanted.
    pub temperature: f32,
    /// Whether `mass_at_one` is wanted.
    pub logprobs: bool,
    /// With what `drawn` is found, where it is wanted.
    pub noise: Option<Noise>,
}

/// One part of a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The highest logit; NaN if there is one, the lowest number of a part without tokens.
    pub peak: f32,
    /// Sum of `exp((logit - peak) / temperature)`.
    pub mass: f64,
    /// Sum of `exp(logit - peak)`.
    pub mass_at_one: f64,
    /// `(logit, token)`, the highest first, the lowest token first among equals; all if they are fewer
    /// than asked for.
    pub top: Vec<(f32, u32)>,
    /// Of the highest sum of logit and noise.
    pub drawn: Option<Drawn>,
}

/// A part's candidate for a draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    pub token: u32,
    pub logit: f32,
    /// The logit and its noise.
    pub score: f32,
}

/// Answers `ask` from a part of a row whose tokens start at `first`. `scratch` is reused between rows.
pub fn summarize(
    logits: &[f32],
    first: u32,
    ask: &Ask,
    scratch: &mut Vec<(f32, u32)>,
    out: &mut Summary,
) {
    out.top.clear();
    (out.mass, out.mass_at_one) = (0.0, 0.0);
    out.drawn = None;
    let (best, peak) = match logits {
        [] => (0, f32::NEG_INFINITY),
        logits => row::argmax(logits),
    };
    out.peak = peak;
    if !peak.is_finite() {
        return;
    }
    if ask.temperature > 0.0 {
        let weights = logits.iter().map(|&v| weight(v, peak, ask.temperature));
        out.mass = weights.sum();
    }
    if ask.logprobs {
        let weights = logits.iter().map(|&v| f64::from(v - peak).exp());
        out.mass_at_one = weights.sum();
    }
    out.drawn = ask.noise.map(|noise| {
        let (token, score) = noise.highest(logits, first);
        let logit = logits[(token - first) as usize];
        Drawn {
            token,
            logit,
            score,
        }
    });
    match ask.count {
        0 => {}
        1 => out.top.push((peak, first + best)),
        count => {
            scratch.clear();
            scratch.extend(logits.iter().copied().zip(first..));
            if count < scratch.len() {
                scratch.select_nth_unstable_by(count - 1, higher_first);
                scratch.truncate(count);
            }
            scratch.sort_unstable_by(higher_first);
            out.top.extend_from_slice(scratch);
        }
    }
}

/// `exp((logit - peak) / temperature)`: relative to the most likely token, so that it never overflows.
pub fn weight(logit: f32, peak: f32, temperature: f32) -> f64 {
    f64::from(((logit - peak) / temperature).exp())
}

/// Descending logit, then ascending token: a total order.
pub fn higher_first(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}
