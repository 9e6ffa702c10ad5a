//! The engine over the time of a run, in bins of one width.

use serde::Serialize;

use super::short;
use crate::ground::{Log, RankSeconds, StepRecord};
use crate::metrics::quantile::ratio;

/// Bins of a run; one of fewer steps has no more than it has steps.
const MOST: usize = 400;
const MS: f64 = 1e3;
const PERCENT: f64 = 100.0;

/// One value a bin. Nulls: no step lies in it, or none was timed.
#[derive(Debug, Default, Serialize)]
pub struct Steps {
    /// Seconds of a bin; the first begins at 0.
    bin: f64,
    /// Tokens a second: those of a step are spread over its length.
    output: Vec<f64>,
    prefill: Vec<f64>,
    /// Means over the bin's time.
    running: Vec<f64>,
    waiting: Vec<f64>,
    kv_percent: Vec<Option<f64>>,
    preempted: Vec<usize>,
    /// Milliseconds a step.
    step_ms: Vec<Option<f64>>,
    host_ms: Vec<Option<f64>>,
    /// Of the steps that were timed; in communication the wait is not.
    compute_ms: Vec<Option<f64>>,
    communication_ms: Vec<Option<f64>>,
    wait_ms: Vec<Option<f64>>,
    /// Means over the steps that tell of each rank.
    ranks: Vec<Rank>,
}

/// Milliseconds a step; in `communication` the wait is not, where it is known.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Rank {
    rank: usize,
    compute: f64,
    communication: f64,
    wait: Option<f64>,
}

/// Sums of a bin.
#[derive(Clone, Default)]
struct Bin {
    output: f64,
    prefill: f64,
    running: f64,
    waiting: f64,
    kv: f64,
    kv_seconds: f64,
    preempted: usize,
    steps: f64,
    seconds: f64,
    host: f64,
    timed: f64,
    compute: f64,
    communication: f64,
    waited: f64,
    wait: f64,
}

impl Steps {
    /// `None` without a step.
    pub fn of(steps: &Log<StepRecord>) -> Option<Self> {
        let last = steps.iter().last()?.end;
        let count = steps.len().clamp(1, MOST);
        let width = ratio(last, count as f64).filter(|width| *width > 0.0)?;
        let mut bins = vec![Bin::default(); count];
        let mut ranks = Ranks::default();
        for step in steps {
            ranks.add(&step.ranks);
            let bin = |time: f64| ((time / width) as usize).min(count - 1);
            let first = bin(step.start);
            let last = bin(step.end).max(first);
            let whole = step.end - step.start;
            for (index, bin) in (first..).zip(&mut bins[first..=last]) {
                let from = step.start.max(index as f64 * width);
                let until = match index == last {
                    true => step.end,
                    false => (index + 1) as f64 * width,
                };
                bin.add(
                    &step,
                    until - from,
                    ratio(until - from, whole).unwrap_or(1.0),
                );
            }
            bins[last].preempted += step.preempted;
        }
        Some(Self {
            ranks: ranks.means(),
            ..Self::from_bins(width, &bins)
        })
    }

    fn from_bins(width: f64, bins: &[Bin]) -> Self {
        let rate = |of: fn(&Bin) -> f64| bins.iter().map(|bin| short(of(bin) / width)).collect();
        let per = |of: fn(&Bin) -> (f64, f64), scale: f64| {
            let value = |bin: &Bin| {
                let (sum, count) = of(bin);
                ratio(sum, count).map(|value| short(scale * value))
            };
            bins.iter().map(value).collect()
        };
        Self {
            bin: width,
            output: rate(|bin| bin.output),
            prefill: rate(|bin| bin.prefill),
            running: rate(|bin| bin.running),
            waiting: rate(|bin| bin.waiting),
            kv_percent: per(|bin| (bin.kv, bin.kv_seconds), PERCENT),
            preempted: bins.iter().map(|bin| bin.preempted).collect(),
            step_ms: per(|bin| (bin.seconds, bin.steps), MS),
            host_ms: per(|bin| (bin.host, bin.steps), MS),
            compute_ms: per(|bin| (bin.compute, bin.timed), MS),
            communication_ms: per(|bin| (bin.communication - bin.wait, bin.timed), MS),
            wait_ms: per(|bin| (bin.wait, bin.waited), MS),
            ranks: Vec::new(),
        }
    }
}

impl Bin {
    /// The part of a step that lies in the bin: seconds, and of the whole.
    fn add(&mut self, step: &StepRecord, seconds: f64, part: f64) {
        self.output += part * step.output_tokens as f64;
        self.prefill += part * step.prefill_tokens as f64;
        self.running += seconds * step.running as f64;
        self.waiting += seconds * step.waiting as f64;
        if let Some(used) = ratio(step.kv_blocks_used as f64, step.kv_blocks_total as f64) {
            self.kv += seconds * used;
            self.kv_seconds += seconds;
        }
        self.steps += part;
        self.seconds += part * (step.end - step.start);
        self.host += part * (step.end - step.start - step.exec_seconds);
        if let Some((compute, communication)) = step.compute_seconds.zip(step.communication_seconds)
        {
            self.timed += part;
            self.compute += part * compute;
            self.communication += part * communication;
            if let Some(wait) = step.wait_seconds {
                self.waited += part;
                self.wait += part * wait;
            }
        }
    }
}

/// Sums by rank.
#[derive(Default)]
struct Ranks {
    steps: f64,
    sums: Vec<RankSeconds>,
}

impl Ranks {
    fn add(&mut self, ranks: &[RankSeconds]) {
        if ranks.is_empty() {
            return;
        }
        let none = RankSeconds {
            wait_seconds: Some(0.0),
            ..RankSeconds::default()
        };
        self.steps += 1.0;
        self.sums.resize(ranks.len().max(self.sums.len()), none);
        for (sum, rank) in self.sums.iter_mut().zip(ranks) {
            sum.compute_seconds += rank.compute_seconds;
            sum.communication_seconds += rank.communication_seconds;
            let both = sum.wait_seconds.zip(rank.wait_seconds);
            sum.wait_seconds = both.map(|(a, b)| a + b);
        }
    }

    fn means(&self) -> Vec<Rank> {
        let mean = |seconds: f64| short(MS * seconds / self.steps);
        let ranks = self.sums.iter().enumerate().map(|(rank, sum)| Rank {
            rank,
            compute: mean(sum.compute_seconds),
            communication: mean(sum.communication_seconds - sum.wait_seconds.unwrap_or(0.0)),
            wait: sum.wait_seconds.map(mean),
        });
        ranks.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(start: f64, end: f64) -> StepRecord {
        StepRecord {
            start,
            end,
            exec_seconds: 0.5 * (end - start),
            running: 4,
            output_tokens: 4,
            kv_blocks_used: 1,
            kv_blocks_total: 4,
            compute_seconds: Some(0.25),
            communication_seconds: Some(0.25),
            ..StepRecord::default()
        }
    }

    #[test]
    fn tokens_are_spread_and_none_is_lost() {
        // The second step lies in both bins, behind a pause.
        let steps = Log::from(vec![step(0.0, 1.0), step(1.5, 4.0)]);
        let drawn = Steps::of(&steps).unwrap();
        assert_eq!(drawn.bin, 2.0);
        let tokens: f64 = drawn.output.iter().map(|rate| rate * drawn.bin).sum();
        assert!((tokens - 8.0).abs() < 1e-3, "{drawn:?}");
        assert_eq!(drawn.running, [3.0, 4.0]);
        assert_eq!(drawn.kv_percent, [Some(25.0); 2]);
        assert_eq!(drawn.step_ms, [Some(1250.0), Some(2500.0)]);
        assert_eq!(drawn.host_ms[1], Some(1250.0));
        assert_eq!(drawn.compute_ms[1], Some(250.0));
        assert_eq!(drawn.wait_ms, [None, None]);
        assert!(Steps::of(&Log::default()).is_none());
    }

    #[test]
    fn ranks_have_means_of_their_own() {
        let rank = |compute_seconds, wait_seconds| RankSeconds {
            compute_seconds,
            communication_seconds: 0.5,
            wait_seconds,
        };
        let told = |first, second| StepRecord {
            ranks: smallvec::smallvec![first, second],
            ..step(0.0, 1.0)
        };
        // A step that was not timed counts for no rank.
        let steps = vec![
            told(rank(0.1, Some(0.3)), rank(0.4, None)),
            step(1.0, 2.0),
            told(rank(0.3, Some(0.1)), rank(0.4, Some(0.1))),
        ];
        let ranks = Steps::of(&Log::from(steps)).unwrap().ranks;
        let one = |rank, compute, communication, wait| Rank {
            rank,
            compute,
            communication,
            wait,
        };
        assert_eq!(
            ranks,
            [
                one(0, 200.0, 300.0, Some(200.0)),
                one(1, 400.0, 500.0, None)
            ]
        );
    }

    #[test]
    fn many_steps_share_bins() {
        let steps: Vec<_> = (0..4000)
            .map(|at| step(f64::from(at), f64::from(at) + 1.0))
            .collect();
        let drawn = Steps::of(&Log::from(steps)).unwrap();
        assert_eq!(drawn.output.len(), MOST);
        assert!(drawn.output.iter().all(|rate| *rate == 4.0));
    }
}
