//! From rows of logits to tokens, wherever the row's parts lie: each rank answers what is asked of its
//! part (`summary`), and all ranks draw the same token from the answers (`draw`).

pub mod draw;
pub mod noise;
pub mod summary;

use serde::{Deserialize, Serialize};

use crate::ground::{Sampling, TokenLogprobs};

/// What to draw from one row of logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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

    /// Whether only the highest sum of logit and noise matters, of all tokens.
    pub fn is_highest(&self) -> bool {
        let Sampling {
            top_k,
            top_p,
            logprobs,
            ..
        } = self.sampling;
        self.is_argmax() || (top_k == 0 && top_p >= 1.0 && logprobs.is_none())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    pub token: u32,
    pub logprobs: Option<Box<TokenLogprobs>>,
}

#[cfg(test)]
mod tests {
    use super::draw::{Verdict, draw, first_ask};
    use super::summary::{Summary, summarize};
    use super::*;

    /// Draws from a row that lies in `parts` parts, as that many ranks do.
    fn sample_parts(logits: &[f32], pick: &Pick, parts: usize) -> candle_core::Result<Sampled> {
        let vocab = logits.len();
        let len = vocab.div_ceil(parts).max(1);
        let part = |rank: usize| (rank * len).min(vocab)..((rank + 1) * len).min(vocab);
        let mut ask = first_ask(pick, 0, vocab);
        let mut merged = Vec::new();
        loop {
            let summaries: Vec<Summary> = (0..parts)
                .map(|rank| {
                    let mut out = Summary::default();
                    let first = part(rank).start as u32;
                    summarize(&logits[part(rank)], first, &ask, &mut Vec::new(), &mut out);
                    out
                })
                .collect();
            match draw(summaries.iter(), &ask, pick, vocab, &mut merged)? {
                Verdict::Done(sampled) => return Ok(sampled),
                Verdict::More(count) => ask.count = count,
            }
        }
    }

    fn sample(logits: &[f32], pick: &Pick) -> Sampled {
        sample_parts(logits, pick, 1).unwrap()
    }

    fn pick(sampling: Sampling, stream: u64) -> Pick {
        Pick {
            stream,
            position: 3,
            sampling,
        }
    }

    fn frequencies(logits: &[f32], sampling: Sampling, draws: u64) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        for stream in 0..draws {
            let sampled = sample(logits, &pick(sampling, stream));
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

    /// Pseudo-random logits, some of them equal.
    fn row(len: usize, spread: f32, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            (state >> 52) as f32 / 4096.0
        };
        (0..len).map(|_| spread * next()).collect()
    }

    /// The rule by sorting everything, for one row in one place.
    fn by_sorting(logits: &[f32], pick: &Pick) -> Vec<u32> {
        let rule = pick.sampling;
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        if rule.top_k > 0 {
            order.truncate(rule.top_k);
        }
        let weight = |&token: &u32| f64::from(logits[token as usize] / rule.temperature).exp();
        let target = f64::from(rule.top_p) * order.iter().map(weight).sum::<f64>();
        let mut sum = 0.0;
        let held = order.iter().take_while(|token| {
            let needed = sum < target;
            sum += weight(token);
            needed
        });
        held.copied().collect()
    }

    #[test]
    fn a_draw_is_the_same_however_the_row_is_split() {
        for (len, spread) in [(1, 1.0), (7, 3.0), (300, 0.01), (3000, 4.0), (20_000, 12.0)] {
            for (seed, temperature) in [(1, 0.7), (2, 1.0), (3, 0.0)] {
                let logits = row(len, spread, seed);
                for (top_k, top_p) in [
                    (0, 1.0),
                    (0, 0.9),
                    (0, 0.999),
                    (5, 1.0),
                    (50, 0.5),
                    (9000, 0.9),
                ] {
                    let sampling = Sampling {
                        temperature,
                        top_k,
                        top_p,
                        seed,
                        logprobs: Some(3),
                    };
                    for stream in 0..6 {
                        let pick = pick(sampling, stream);
                        let one = sample(&logits, &pick);
                        if temperature > 0.0 && top_p < 1.0 {
                            let kept = by_sorting(&logits, &pick);
                            // Equal logits may stand in another order there.
                            let among = |t: &u32| logits[*t as usize] == logits[one.token as usize];
                            assert!(kept.iter().any(among), "{} of {len}: {pick:?}", one.token);
                        }
                        for parts in [2, 3, 8] {
                            let found = sample_parts(&logits, &pick, parts).unwrap();
                            assert_eq!(found.token, one.token, "{len} in {parts}: {pick:?}");
                            let (found, one) =
                                (found.logprobs.unwrap(), one.logprobs.as_ref().unwrap());
                            let ids =
                                |p: &TokenLogprobs| p.top.iter().map(|t| t.0).collect::<Vec<_>>();
                            assert_eq!(ids(&found), ids(one));
                            assert!((found.logprob - one.logprob).abs() < 1e-5);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        let row = [1.0, 5.0, 5.0, -2.0];
        let sampled = sample(&row, &pick(Sampling::GREEDY, 0));
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
        let mut at = |position| {
            let pick = Pick {
                stream: 4,
                position,
                sampling,
            };
            sample(&row, &pick).token
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
        let sampled = sample(&LOGITS, &pick(sampling, 0));
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
        for sampling in [
            Sampling::GREEDY,
            Sampling {
                temperature: 1.0,
                ..Sampling::GREEDY
            },
        ] {
            for row in [
                &[0.0, f32::NAN][..],
                &[f32::NAN, 0.0],
                &[f32::NEG_INFINITY; 3],
                &[1.0, f32::INFINITY],
            ] {
                for parts in [1, 2] {
                    let refused = sample_parts(row, &pick(sampling, 0), parts).unwrap_err();
                    assert!(refused.to_string().contains("not finite"), "{refused}");
                }
            }
        }
    }
}
