//! From one row of logits to one token: greedy, or temperature, then top-k, then top-p.
//!
//! A draw depends on (seed, request, position) and the row alone, never on the batch around it.

use candle_core::{Result, bail};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::row;
use crate::ground::{Sampling, TokenLogprobs};

/// Tokens sorted at first for top-p, and how many times more when they do not suffice.
const FIRST_SORTED: usize = 256;
const SORT_GROWTH: usize = 8;

/// What to draw from one row of logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// Stream of random numbers of this request.
    pub stream: u64,
    /// Position that the drawn token will have in its sequence.
    pub position: u32,
    pub sampling: Sampling,
}

impl Pick {
    /// The highest logit, and nothing else of the row.
    pub const GREEDY: Self = Self {
        stream: 0,
        position: 0,
        sampling: Sampling::GREEDY,
    };

    /// Whether only the highest logit matters.
    pub fn is_argmax(&self) -> bool {
        self.sampling.is_greedy() && self.sampling.logprobs.is_none()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    pub token: u32,
    pub logprobs: Option<Box<TokenLogprobs>>,
}

/// Draws one token. `scratch` is reused between rows.
pub fn sample(logits: &[f32], pick: &Pick, scratch: &mut Vec<(f32, u32)>) -> Result<Sampled> {
    let (best, peak) = argmax(logits)?;
    let token = if pick.sampling.is_greedy() {
        best
    } else {
        draw(logits, peak, pick, scratch)
    };
    let logprobs = pick
        .sampling
        .logprobs
        .map(|count| Box::new(logprobs(logits, peak, token, count, scratch)));
    Ok(Sampled { token, logprobs })
}

/// The largest logit, the lowest index on a tie. A row without a finite maximum is an error.
pub fn argmax(logits: &[f32]) -> Result<(u32, f32)> {
    finite(row::argmax(logits))
}

/// The highest `(index, logit)` of a row, if it is a number.
pub fn finite(highest: (u32, f32)) -> Result<(u32, f32)> {
    if !highest.1.is_finite() {
        bail!(
            "the model produced logits that are not finite; the weights or the arithmetic type overflow"
        );
    }
    Ok(highest)
}

fn draw(logits: &[f32], peak: f32, pick: &Pick, scratch: &mut Vec<(f32, u32)>) -> u32 {
    let Sampling {
        temperature,
        top_k,
        top_p,
        seed,
        ..
    } = pick.sampling;
    // Weights relative to the most likely token, so that exp never overflows.
    scratch.clear();
    scratch.extend(
        logits
            .iter()
            .enumerate()
            .map(|(i, &v)| (((v - peak) / temperature).exp(), i as u32)),
    );
    if top_k > 0 && top_k < scratch.len() {
        scratch.select_nth_unstable_by(top_k - 1, likelier);
        scratch.truncate(top_k);
    }
    if top_p < 1.0 {
        keep_nucleus(scratch, f64::from(top_p.max(0.0)));
    } else {
        // A fixed order, whatever the selection above left behind.
        scratch.sort_unstable_by_key(|&(_, token)| token);
    }
    let mut rng = StdRng::seed_from_u64(mix(seed, pick.stream, u64::from(pick.position)));
    let mut left = rng.random::<f64>() * mass(scratch);
    for &(weight, token) in scratch.iter() {
        left -= f64::from(weight);
        if left < 0.0 {
            return token;
        }
    }
    // Rounding may leave a sliver: the last token that has any weight.
    let last = scratch.iter().rev().find(|&&(w, _)| w > 0.0);
    last.map_or(0, |&(_, token)| token)
}

/// Keeps the smallest set of most likely tokens that holds `share` of the mass, the most likely first.
///
/// Sorts only as far as that takes: some hundreds of a vocabulary as a rule, all of it at worst.
fn keep_nucleus(weights: &mut Vec<(f32, u32)>, share: f64) {
    let target = share * mass(weights);
    let (mut sorted, mut sum) = (0, 0.0);
    while sorted < weights.len() {
        let end = weights.len().min((sorted * SORT_GROWTH).max(FIRST_SORTED));
        let rest = &mut weights[sorted..];
        if end - sorted < rest.len() {
            rest.select_nth_unstable_by(end - sorted - 1, likelier);
        }
        rest[..end - sorted].sort_unstable_by(likelier);
        for i in sorted..end {
            sum += f64::from(weights[i].0);
            if sum >= target {
                return weights.truncate(i + 1);
            }
        }
        sorted = end;
    }
}

fn logprobs(
    logits: &[f32],
    peak: f32,
    token: u32,
    count: usize,
    scratch: &mut Vec<(f32, u32)>,
) -> TokenLogprobs {
    let sum: f64 = logits.iter().map(|&v| f64::from(v - peak).exp()).sum();
    let log_sum = f64::from(peak) + sum.ln();
    let logprob = |v: f32| (f64::from(v) - log_sum) as f32;
    scratch.clear();
    scratch.extend(logits.iter().enumerate().map(|(i, &v)| (v, i as u32)));
    let count = count.min(scratch.len());
    if count > 0 && count < scratch.len() {
        scratch.select_nth_unstable_by(count - 1, likelier);
    }
    scratch.truncate(count);
    scratch.sort_unstable_by(likelier);
    TokenLogprobs {
        token_id: token,
        logprob: logprob(logits[token as usize]),
        top: scratch.iter().map(|&(v, id)| (id, logprob(v))).collect(),
    }
}

fn mass(weights: &[(f32, u32)]) -> f64 {
    weights.iter().map(|&(w, _)| f64::from(w)).sum()
}

/// Descending weight, then ascending token id: a total order.
fn likelier(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// One well-mixed seed of three numbers (the finaliser of SplitMix64, Steele et al. 2014).
fn mix(seed: u64, stream: u64, position: u64) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(sampling: Sampling, stream: u64) -> Pick {
        Pick {
            stream,
            position: 3,
            sampling,
        }
    }

    fn frequencies(logits: &[f32], sampling: Sampling, draws: u64) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        let mut scratch = Vec::new();
        for stream in 0..draws {
            let sampled = sample(logits, &pick(sampling, stream), &mut scratch).unwrap();
            counts[sampled.token as usize] += 1.0 / draws as f64;
        }
        counts
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        for (f, e) in found.iter().zip(expected) {
            // Five standard deviations of 20,000 draws.
            assert!((f - e).abs() < 0.02, "{found:?} is not {expected:?}");
        }
    }

    const LOGITS: [f32; 5] = [0.0, 1.0, -1.0, 2.0, -30.0];

    #[test]
    fn the_nucleus_is_what_sorting_everything_gives() {
        let mut state = 1;
        for (len, spread) in [
            (1, 1.0),
            (255, 3.0),
            (3000, 0.01),
            (3000, 4.0),
            (20_000, 12.0),
        ] {
            let weights: Vec<(f32, u32)> = (0..len)
                .map(|i| {
                    state = mix(state, i, len);
                    // Some of them equal, some without any weight.
                    let unit = (state >> 52) as f32 / 4096.0;
                    (
                        (-spread * unit).exp() * f32::from(u8::from(unit > 0.05)),
                        i as u32,
                    )
                })
                .collect();
            for share in [0.0, 0.1, 0.9, 0.999, 1.0] {
                let mut sorted = weights.clone();
                sorted.sort_by(likelier);
                let mut sum = 0.0;
                let target = share * mass(&weights);
                let reaches = |&(w, _): &(f32, u32)| {
                    sum += f64::from(w);
                    sum >= target
                };
                let count = sorted
                    .iter()
                    .position(reaches)
                    .map_or(sorted.len(), |i| i + 1);
                let mut kept = weights.clone();
                keep_nucleus(&mut kept, share);
                assert_eq!(kept, sorted[..count], "{len} weights, {share}");
            }
        }
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        let mut scratch = Vec::new();
        let row = [1.0, 5.0, 5.0, -2.0];
        let sampled = sample(&row, &pick(Sampling::GREEDY, 0), &mut scratch).unwrap();
        assert_eq!(sampled.token, 1);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let weights: Vec<f64> = LOGITS.iter().map(|&v| (f64::from(v) / 0.8).exp()).collect();
        let total: f64 = weights.iter().sum();
        let expected: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let sampling = Sampling {
            temperature: 0.8,
            ..Sampling::GREEDY
        };
        assert_close(&frequencies(&LOGITS, sampling, 20_000), &expected);
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let e = std::f64::consts::E;
        let two = Sampling {
            temperature: 1.0,
            top_k: 2,
            ..Sampling::GREEDY
        };
        let expected = [0.0, 1.0 / (1.0 + e), 0.0, e / (1.0 + e), 0.0];
        assert_close(&frequencies(&LOGITS, two, 20_000), &expected);
        // p(3) = 0.644 and p(3) + p(1) = 0.881: 0.7 needs both.
        let nucleus = Sampling {
            temperature: 1.0,
            top_p: 0.7,
            ..Sampling::GREEDY
        };
        assert_close(&frequencies(&LOGITS, nucleus, 20_000), &expected);
        let narrow = Sampling {
            top_p: 0.0,
            ..nucleus
        };
        assert_close(
            &frequencies(&LOGITS, narrow, 100),
            &[0.0, 0.0, 0.0, 1.0, 0.0],
        );
    }

    #[test]
    fn the_seed_decides_and_positions_differ() {
        let row: Vec<f32> = (0..1000).map(|i| (i % 7) as f32 * 0.1).collect();
        let sampling = Sampling {
            temperature: 1.0,
            seed: 9,
            ..Sampling::GREEDY
        };
        let mut scratch = Vec::new();
        let mut at = |position| {
            let pick = Pick {
                stream: 4,
                position,
                sampling,
            };
            sample(&row, &pick, &mut scratch).unwrap().token
        };
        assert_eq!(at(1), at(1));
        let drawn: std::collections::HashSet<u32> = (0..50).map(&mut at).collect();
        assert!(drawn.len() > 30, "{} different tokens in 50", drawn.len());
    }

    #[test]
    fn logprobs_sum_to_one_and_are_sorted() {
        let sampling = Sampling {
            logprobs: Some(5),
            ..Sampling::GREEDY
        };
        let mut scratch = Vec::new();
        let sampled = sample(&LOGITS, &pick(sampling, 0), &mut scratch).unwrap();
        let logprobs = sampled.logprobs.unwrap();
        assert_eq!(logprobs.token_id, 3);
        let ids: Vec<u32> = logprobs.top.iter().map(|t| t.0).collect();
        assert_eq!(ids, [3, 1, 0, 2, 4]);
        let total: f64 = logprobs.top.iter().map(|t| f64::from(t.1).exp()).sum();
        assert!((total - 1.0).abs() < 1e-6);
        assert_eq!(logprobs.top[0].1, logprobs.logprob);
    }

    #[test]
    fn rows_without_a_finite_maximum_are_refused() {
        assert!(argmax(&[0.0, f32::NAN]).is_err());
        assert!(argmax(&[f32::NEG_INFINITY; 3]).is_err());
        assert!(argmax(&[1.0, f32::INFINITY]).is_err());
        assert!(argmax(&[]).is_err());
    }
}
