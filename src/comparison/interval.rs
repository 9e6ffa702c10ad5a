//! How sure a ratio is: Student's t over repeats, else a bootstrap over blocks of time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::blocks::{BLOCKS, Blocks};
use super::side::Load;
use crate::metrics::quantile::moments;
use crate::metrics::repeats::t_quantile;

/// Plays of one load from which their spread is known.
const FEWEST_REPEATS: usize = 3;
/// Drawings of the bootstrap.
const DRAWS: usize = 1000;
const SEED: u64 = 0x5eed;
/// Correlation of blocks with their neighbours beyond which more is not told by so few.
const MOST_CORRELATED: f64 = 0.9;
/// A variance from fewer would bound nothing.
const FEWEST_FREEDOM: f64 = 2.0;

/// Bounds of a ratio, and where they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub how: String,
}

/// The variance of a figure's logarithm, and its degrees of freedom.
#[derive(Debug, Clone, Copy)]
struct Variance {
    squares: f64,
    freedom: f64,
}

/// Of the second load over the first, at that level of confidence.
pub fn interval(name: &str, a: &Load, b: &Load, level: f64) -> Interval {
    let by_repeats = |load: &Load| of_repeats(name, load);
    let (repeats, others) = ((by_repeats(a), by_repeats(b)), (a.blocks(), b.blocks()));
    let known = match (repeats, others) {
        ((Some(a), Some(b)), _) => Some((sum(a, b), "t over repeats")),
        ((None, None), (Some(a), Some(b))) => {
            paired(name, a, b).map(|both| (both, "bootstrap over 10 blocks of time"))
        }
        ((Some(a), None), (_, Some(b))) => of_blocks(name, b).map(|b| {
            (
                sum(a, b),
                "t over repeats of the first, blocks of time of the second",
            )
        }),
        ((None, Some(b)), (Some(a), _)) => of_blocks(name, a).map(|a| {
            (
                sum(a, b),
                "blocks of time of the first, t over repeats of the second",
            )
        }),
        _ => None,
    };
    let ratio = a.value(name).zip(b.value(name)).map(|(a, b)| b / a);
    let Some(((variance, how), ratio)) = known.zip(ratio).filter(|(_, ratio)| *ratio > 0.0) else {
        return Interval {
            low: None,
            high: None,
            how: "single figures: the ratio alone decides".to_owned(),
        };
    };
    let half = variance.half(level);
    Interval {
        low: Some(ratio * (-half).exp()),
        high: Some(ratio * half.exp()),
        how: format!("{how}, {:.4} %", 100.0 * level),
    }
}

/// Half of the 95 % interval of a figure, as a part of it; `None`: nothing tells how much it varies.
pub fn spread(name: &str, load: &Load) -> Option<f64> {
    let blocks = || of_blocks(name, load.blocks()?);
    Some(of_repeats(name, load).or_else(blocks)?.half(0.95))
}

impl Variance {
    /// Of the interval of that level, on either side.
    fn half(self, level: f64) -> f64 {
        t_quantile(level, self.freedom.floor().max(1.0) as usize) * self.squares.sqrt()
    }
}

/// Of the logarithm of a mean over plays.
fn of_repeats(name: &str, load: &Load) -> Option<Variance> {
    let values = load.values(name);
    if values.len() < FEWEST_REPEATS {
        return None;
    }
    let (mean, squares) = moments(&values)?;
    let freedom = (values.len() - 1) as f64;
    let of_mean = squares / freedom / values.len() as f64;
    (mean > 0.0).then(|| Variance {
        squares: of_mean / (mean * mean),
        freedom,
    })
}

/// Welch and Satterthwaite.
fn sum(a: Variance, b: Variance) -> Variance {
    let squares = a.squares + b.squares;
    let freedom =
        squares * squares / (a.squares * a.squares / a.freedom + b.squares * b.squares / b.freedom);
    Variance {
        squares,
        freedom: if freedom.is_finite() {
            freedom
        } else {
            a.freedom.min(b.freedom)
        },
    }
}

fn of_blocks(name: &str, blocks: &Blocks) -> Option<Variance> {
    let series = blocks.series(name)?;
    drawn(|picks| series.over(picks))
}

/// The same blocks are drawn of both, so that what is alike in both runs, such as their beginnings, cancels.
fn paired(name: &str, a: &Blocks, b: &Blocks) -> Option<Variance> {
    let (a, b) = (a.series(name)?, b.series(name)?);
    drawn(|picks| Some(b.over(picks)? / a.over(picks)?))
}

fn drawn(statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Variance> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut picks = [0; BLOCKS];
    let values = (0..DRAWS).map(|_| {
        picks.fill_with(|| random.random_range(0..BLOCKS));
        Some(statistic(&picks)?.ln())
    });
    let values: Option<Vec<f64>> = values.collect();
    let values = values?;
    let (_, squares) = moments(&values)?;
    let blocks = BLOCKS as f64;
    let independent = independent(&statistic);
    Some(Variance {
        // What drawing with replacement takes off, and what blocks that are alike do.
        squares: squares / DRAWS as f64 * blocks / (blocks - 1.0) * blocks / independent,
        freedom: (independent - 1.0).max(FEWEST_FREEDOM),
    })
}

/// So many independent blocks tell as much as those of the run do: who takes the processor takes it for a while, and
/// makes blocks alike that follow each other. From the correlation of each with the next, which so few blocks
/// understate (Kendall, 1954).
fn independent(statistic: impl Fn(&[usize]) -> Option<f64>) -> f64 {
    let blocks = BLOCKS as f64;
    let values = (0..BLOCKS).map(|at| Some(statistic(&[at])?.ln()));
    let values: Option<Vec<f64>> = values.collect();
    let Some((values, (mean, squares))) = values.and_then(|all| {
        let moments = moments(&all)?;
        Some((all, moments))
    }) else {
        return blocks;
    };
    // Equal but for rounding.
    if squares < f64::EPSILON {
        return blocks;
    }
    let next = values
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean));
    let stated = next.sum::<f64>() / squares;
    let correlation = (blocks * stated + 1.0) / (blocks - 3.0);
    let correlation = correlation.clamp(0.0, MOST_CORRELATED);
    blocks * (1.0 - correlation) / (1.0 + correlation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::verdict::{Verdict, verdict};
    use crate::ground::{FinishReason, Log, RequestRecord};

    const TOLERANCE: f64 = 0.03;
    const JUDGED: [&str; 3] = ["output_throughput", "mean_tpot_ms", "mean_e2el_ms"];

    /// A machine of which others take a part, for stretches of so much of a run on average.
    struct Machine {
        random: StdRng,
        stretch: f64,
        taken: f64,
    }

    impl Machine {
        /// A closed loop of eight, each of whose steps takes as long as the machine lets it.
        fn play(&mut self, slower: f64) -> Blocks {
            const STREAMS: usize = 8;
            const REQUESTS: usize = 160;
            const TOKENS: usize = 24;
            const STEPS: f64 = (REQUESTS * TOKENS / STREAMS) as f64;
            let mut time = 0.0;
            let mut is_taken = self.random.random_bool(0.5);
            let mut running: Vec<RequestRecord> = Vec::new();
            let mut done = Vec::new();
            let mut started = 0;
            while done.len() < REQUESTS {
                while running.len() < STREAMS && started < REQUESTS {
                    started += 1;
                    running.push(RequestRecord {
                        id: started as u64,
                        prompt_tokens: 16,
                        output_tokens: TOKENS,
                        arrival: time,
                        submitted: Some(time),
                        admitted: Some(time),
                        tokens: Vec::new(),
                        finish: Some(FinishReason::Length),
                        preemptions: 0,
                        cached_tokens: None,
                        error: None,
                    });
                }
                is_taken ^= self
                    .random
                    .random_bool((1.0 / (self.stretch * STEPS)).min(1.0));
                let part = if is_taken { self.taken } else { 0.0 };
                time += slower * (1.0 + self.random.random_range(0.0..0.04)) / (1.0 - part);
                for record in &mut running {
                    record.tokens.push(time);
                }
                done.extend(running.extract_if(.., |record| record.tokens.len() == TOKENS));
            }
            Blocks::of(&Log::from(done)).unwrap()
        }

        /// How many of so many pairs are called slower or faster; the second takes `slower` as long.
        fn changes(&mut self, pairs: usize, slower: f64) -> usize {
            let level = 1.0 - crate::comparison::FALSE_ALARMS / JUDGED.len() as f64;
            let mut is_change = || {
                let (a, b) = (self.play(1.0), self.play(slower));
                JUDGED.iter().any(|name| {
                    let picks: Vec<usize> = (0..BLOCKS).collect();
                    let over = |blocks: &Blocks| blocks.series(name).unwrap().over(&picks).unwrap();
                    let ratio = over(&b) / over(&a);
                    let half = paired(name, &a, &b).unwrap().half(level);
                    let bounds = (ratio * (-half).exp(), ratio * half.exp());
                    let said = verdict(ratio, Some(bounds), TOLERANCE);
                    matches!(said, Verdict::Slower | Verdict::Faster)
                })
            };
            (0..pairs).filter(|_| is_change()).count()
        }
    }

    fn machine(stretch: f64, taken: f64) -> Machine {
        Machine {
            random: StdRng::seed_from_u64(7),
            stretch,
            taken,
        }
    }

    /// Of stretches as long as a run a run tells nothing: there repeats alone do.
    #[test]
    fn a_machine_that_others_use_is_seldom_another_one() {
        const PAIRS: usize = 200;
        for stretch in [0.05, 0.2, 0.5] {
            let found = machine(stretch, 0.2).changes(PAIRS, 1.0);
            let most = (crate::comparison::FALSE_ALARMS * PAIRS as f64) as usize;
            assert!(
                found <= most,
                "{found} of {PAIRS} at stretches of {stretch}"
            );
        }
        assert_eq!(machine(0.01, 0.0).changes(20, 1.1), 20);
    }
}
