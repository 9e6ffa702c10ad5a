//! From what every rank told of one row to one token: greedy, or temperature, then top-k, then top-p.
//!
//! Of the tokens that are kept, the one of the highest sum of logit and noise is drawn. A draw depends on (seed, request,
//! position) and the row alone, never on the batch around it, nor on how the row is split. Every rank comes to the same
//! token.

use candle_core::{Result, bail};

use super::noise::Noise;
use super::summary::{Ask, Drawn, Summary, higher_first, weight};
use super::{Pick, Sampled};
use crate::ground::TokenLogprobs;

/// Candidates listed at first for top-p, and how many times more when they do not suffice.
const FIRST_LISTED: usize = 256;
const LIST_GROWTH: usize = 8;

/// What the summaries of a row amount to.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Done(Sampled),
    /// The listed candidates are too few: ask for this many.
    More(usize),
}

/// The first question about a row.
pub fn first_ask(pick: &Pick, row: usize, vocab_size: usize) -> Ask {
    let sampling = &pick.sampling;
    let k = top_k(pick, vocab_size);
    let drawn = match (sampling.is_greedy(), k) {
        (true, _) => 1,
        (false, Some(k)) => k,
        (false, None) if sampling.top_p < 1.0 => FIRST_LISTED,
        (false, None) => 0,
    };
    // What top-p keeps depends on the mass of all tokens, unless top-k has cut them.
    let weighs = !sampling.is_greedy() && sampling.top_p < 1.0 && k.is_none();
    let keeps_all = !sampling.is_greedy() && sampling.top_p >= 1.0 && k.is_none();
    Ask {
        row,
        count: drawn.max(sampling.logprobs.unwrap_or(0)).min(vocab_size),
        temperature: if weighs { sampling.temperature } else { 0.0 },
        logprobs: sampling.logprobs.is_some(),
        noise: keeps_all.then(|| pick.into()),
    }
}

/// Tokens kept by top-k, where it keeps fewer than all.
fn top_k(pick: &Pick, vocab_size: usize) -> Option<usize> {
    let k = pick.sampling.top_k;
    (k > 0 && k < vocab_size).then_some(k)
}

/// Draws from the summaries of all ranks, in rank order, each an answer to `ask`. `merged` is scratch.
///
/// # Errors
/// The row has no finite maximum.
pub fn draw<'a>(
    parts: impl Iterator<Item = &'a Summary> + Clone,
    ask: &Ask,
    pick: &Pick,
    vocab_size: usize,
    merged: &mut Vec<(f32, u32)>,
) -> Result<Verdict> {
    let peak = peak(parts.clone())?;
    merged.clear();
    parts.clone().for_each(|part| merged.extend(&part.top));
    merged.sort_unstable_by(higher_first);
    let merged = merged.as_slice();
    let logprobs = Logprobs::new(parts.clone(), peak, pick, merged);
    let sampling = &pick.sampling;
    if sampling.is_greedy() {
        return Ok(Verdict::Done(logprobs.of(merged[0])));
    }
    if ask.noise.is_some() {
        let drawn = parts.filter_map(|part| part.drawn);
        let drawn = drawn.reduce(|a, b| if a.score >= b.score { a } else { b });
        let Some(Drawn { logit, token, .. }) = drawn else {
            bail!("no part of a row has drawn a token");
        };
        return Ok(Verdict::Done(logprobs.of((logit, token))));
    }
    let temperature = sampling.temperature;
    let scaled = |part: &Summary| part.mass * scale(part, peak, temperature);
    let weigh = |&(logit, _): &(f32, u32)| weight(logit, peak, temperature);
    let (listed, mass) = match top_k(pick, vocab_size) {
        Some(k) => {
            let kept = &merged[..k.min(merged.len())];
            (kept, kept.iter().map(weigh).sum())
        }
        None => {
            let mass: f64 = parts.clone().map(scaled).sum();
            (&merged[..complete(parts.clone(), ask, merged)], mass)
        }
    };
    // The smallest set of most likely tokens that holds top_p of the mass.
    let target = f64::from(sampling.top_p.max(0.0)) * mass;
    let mut held = 0.0;
    let reaches = |candidate: &(f32, u32)| {
        held += weigh(candidate);
        held >= target
    };
    let nucleus = match listed.iter().position(reaches) {
        Some(last) => &listed[..=last],
        None if top_k(pick, vocab_size).is_none() && ask.count < vocab_size => {
            return Ok(Verdict::More((LIST_GROWTH * ask.count).min(vocab_size)));
        }
        None => listed,
    };
    let noise = Noise::from(pick);
    let scored = |&(logit, token): &(f32, u32)| ((noise.score(token, logit), token), logit);
    let highest = nucleus.iter().map(scored);
    let highest = highest.min_by(|(a, _), (b, _)| higher_first(a, b));
    let chosen = highest.map_or(merged[0], |((_, token), logit)| (logit, token));
    Ok(Verdict::Done(logprobs.of(chosen)))
}

/// A row's log-probabilities, before its token is known.
struct Logprobs {
    /// Logarithm of the sum of `exp(logit)`; only where `top` is wanted.
    log_sum: f64,
    top: Option<Vec<(u32, f32)>>,
}

impl Logprobs {
    fn new<'a>(
        parts: impl Iterator<Item = &'a Summary>,
        peak: f32,
        pick: &Pick,
        merged: &[(f32, u32)],
    ) -> Self {
        let Some(count) = pick.sampling.logprobs else {
            return Self {
                log_sum: 0.0,
                top: None,
            };
        };
        let mass: f64 = parts.map(|p| p.mass_at_one * scale(p, peak, 1.0)).sum();
        let log_sum = f64::from(peak) + mass.ln();
        let top = merged.iter().take(count);
        Self {
            log_sum,
            top: Some(
                top.map(|&(logit, id)| (id, logprob(logit, log_sum)))
                    .collect(),
            ),
        }
    }

    /// The row's token and its logit.
    fn of(self, (logit, token): (f32, u32)) -> Sampled {
        let logprob = logprob(logit, self.log_sum);
        Sampled {
            token,
            logprobs: self.top.map(|top| {
                Box::new(TokenLogprobs {
                    token_id: token,
                    logprob,
                    top,
                })
            }),
        }
    }
}

fn logprob(logit: f32, log_sum: f64) -> f32 {
    (f64::from(logit) - log_sum) as f32
}

/// The highest logit of all parts, if it is a number and no part holds a NaN.
fn peak<'a>(parts: impl Iterator<Item = &'a Summary>) -> Result<f32> {
    let higher = |a: f32, b: f32| if a.is_nan() || a >= b { a } else { b };
    finite(parts.map(|part| part.peak).fold(f32::NEG_INFINITY, higher))
}

/// # Errors
/// `peak`, the highest logit of a row, is not a number.
pub fn finite(peak: f32) -> Result<f32> {
    if !peak.is_finite() {
        bail!(
            "the model produced logits that are not finite; the weights or the arithmetic type overflow"
        );
    }
    Ok(peak)
}

/// From a part's own peak to the peak of all.
fn scale(part: &Summary, peak: f32, temperature: f32) -> f64 {
    match part.peak.is_finite() {
        true => (f64::from(part.peak - peak) / f64::from(temperature)).exp(),
        false => 0.0,
    }
}

/// How many of `merged` are the highest of the row for certain: a part that listed all it was asked for
/// may hold more just below its last.
fn complete<'a>(
    parts: impl Iterator<Item = &'a Summary>,
    ask: &Ask,
    merged: &[(f32, u32)],
) -> usize {
    let full = parts.filter(|part| part.top.len() >= ask.count);
    let floor = full
        .filter_map(|part| part.top.last())
        .min_by(|a, b| higher_first(a, b));
    match floor {
        None => merged.len(),
        Some(floor) => merged.partition_point(|c| higher_first(c, floor).is_le()),
    }
}

/// One well-mixed seed of three numbers (the finaliser of SplitMix64, Steele et al. 2014).
pub fn mix(seed: u64, stream: u64, position: u64) -> u64 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    [seed, stream, position]
        .into_iter()
        .fold(GAMMA, |state, x| {
            let mut z = (state ^ x).wrapping_add(GAMMA);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
}
