//! From what every rank told of one row to one token: greedy, or temperature, then top-k, then top-p.
//!
//! A draw depends on (seed, request, position) and the row alone, never on the batch around it, nor on
//! how the row is split. Every rank comes to the same token.

use candle_core::{Result, bail};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::summary::{Ask, Summary, higher_first, weight};
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
    /// `rank` must [`locate`](super::summary::locate) the token at `mass` of its part.
    Locate {
        rank: usize,
        mass: f64,
        draft: Draft,
    },
}

/// The first question about a row.
pub fn first_ask(pick: &Pick, row: usize, vocab_size: usize) -> Ask {
    let sampling = &pick.sampling;
    let drawn = match (sampling.is_greedy(), top_k(pick, vocab_size)) {
        (true, _) => 1,
        (false, Some(k)) => k,
        (false, None) if sampling.top_p < 1.0 => FIRST_LISTED,
        (false, None) => 0,
    };
    Ask {
        row,
        count: drawn.max(sampling.logprobs.unwrap_or(0)).min(vocab_size),
        temperature: sampling.temperature.max(0.0),
        logprobs: sampling.logprobs.is_some(),
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
    let draft = || Draft::new(parts.clone(), peak, pick, merged);
    let sampling = &pick.sampling;
    if sampling.is_greedy() {
        return Ok(Verdict::Done(draft().choose(merged[0])));
    }
    let temperature = sampling.temperature;
    let scaled = |part: &Summary| part.mass * scale(part, peak, temperature);
    let weigh = |&(logit, _): &(f32, u32)| weight(logit, peak, temperature);
    let unit = StdRng::seed_from_u64(mix(sampling.seed, pick.stream, u64::from(pick.position)))
        .random::<f64>();
    let (listed, mass) = match top_k(pick, vocab_size) {
        Some(k) => {
            let kept = &merged[..k.min(merged.len())];
            (kept, kept.iter().map(weigh).sum())
        }
        None => {
            let mass: f64 = parts.clone().map(scaled).sum();
            if sampling.top_p >= 1.0 {
                let masses = parts.clone().map(|part| (scaled(part), part.mass));
                let (rank, mass) = owner(masses, unit * mass);
                let draft = draft();
                return Ok(Verdict::Locate { rank, mass, draft });
            }
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
    let mut left = unit * nucleus.iter().map(weigh).sum::<f64>();
    let passed = |candidate: &&(f32, u32)| {
        left -= weigh(candidate);
        left < 0.0
    };
    // Rounding may leave a sliver: the last token of the nucleus.
    let chosen = nucleus.iter().find(passed).or(nucleus.last());
    let chosen = *chosen.unwrap_or(&merged[0]);
    Ok(Verdict::Done(draft().choose(chosen)))
}

/// A row's log-probabilities, before its token is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Logarithm of the sum of `exp(logit)`; only where `top` is wanted.
    log_sum: f64,
    top: Option<Vec<(u32, f32)>>,
}

impl Draft {
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
    pub fn choose(self, (logit, token): (f32, u32)) -> Sampled {
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

/// Which part holds the token at `mass` of all, and how much of its own mass lies before it. `parts` are
/// the masses in the common measure and in the part's own.
fn owner(parts: impl Iterator<Item = (f64, f64)>, mass: f64) -> (usize, f64) {
    let mut left = mass;
    let mut last = (0, 0.0);
    for (rank, (scaled, own)) in parts.enumerate() {
        if scaled <= 0.0 {
            continue;
        }
        if left < scaled {
            return (rank, left / scaled * own);
        }
        left -= scaled;
        last = (rank, own);
    }
    last
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
