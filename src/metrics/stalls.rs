//! Time in which nothing went on: a process that was suspended, a machine that was taken away.

use std::collections::BTreeMap;

use super::quantile::Values;
use crate::ground::{StepRecord, TelemetrySample};

/// Seconds. A shorter stall is not told from a busy machine's.
const SHORTEST: f64 = 1.0;
/// Likewise between samples: what a GPU's driver tells may take it a second.
const SHORTEST_SILENCE: f64 = 2.0;
/// Times the median of its kind, for a step or a gap between samples to be beyond it.
const BEYOND: f64 = 10.0;
/// Of fewer there is no kind.
const FEWEST: usize = 5;
const MEDIAN: u32 = 50;

/// The steps of a run by kind, and the longest of each.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    kinds: BTreeMap<[u32; 4], Kind>,
    /// The longest pause before a step in which requests waited for it.
    pause: Option<(f64, u64)>,
}

#[derive(Debug)]
struct Kind {
    seconds: Values,
    /// Length and number of the longest. The first of a kind does not count: it may have had to set up
    /// what the others find.
    longest: Option<(f64, u64)>,
}

impl Stalls {
    /// `pause`: seconds between the step before and this one in which requests were held.
    pub fn add(&mut self, step: &StepRecord, pause: f64) {
        let seconds = step.end - step.start;
        if self.pause.is_none_or(|(longest, _)| pause > longest) {
            self.pause = Some((pause, step.step));
        }
        match self.kinds.get_mut(&kind(step)) {
            None => {
                // Only counts are kept of each.
                let mut values = Values::exact_to(0);
                values.push(seconds);
                let first = Kind {
                    seconds: values,
                    longest: None,
                };
                self.kinds.insert(kind(step), first);
            }
            Some(kind) => {
                kind.seconds.push(seconds);
                if kind.longest.is_none_or(|(longest, _)| seconds > longest) {
                    kind.longest = Some((seconds, step.step));
                }
            }
        }
    }

    /// The worst, as a sentence.
    pub fn worst(self, telemetry: &[TelemetrySample]) -> Option<String> {
        let pause = self.pause.filter(|(seconds, _)| *seconds > SHORTEST);
        let pause = pause.map(|(seconds, step)| {
            let words = format!("requests waited {seconds:.3} s for step {step} to begin");
            (seconds, words)
        });
        let steps = self.kinds.into_values().filter_map(Kind::stall);
        let stalls = steps.chain(pause).chain(silence(telemetry));
        let worst = stalls.max_by(|a, b| a.0.total_cmp(&b.0));
        worst.map(|(_, words)| words)
    }
}

impl Kind {
    fn stall(self) -> Option<(f64, String)> {
        let (seconds, step) = self.longest?;
        let sample = self.seconds.sample()?;
        let median = sample.percentile(MEDIAN);
        let others = sample.count() - 1;
        let words = || {
            format!(
                "step {step} took {seconds:.3} s, and {others} others of its kind {median:.6} s at the median"
            )
        };
        (seconds > SHORTEST && is_beyond(seconds, median, sample.count()))
            .then(|| (seconds, words()))
    }
}

/// The longest time without a sample, from a thread that only waits and looks.
fn silence(telemetry: &[TelemetrySample]) -> Option<(f64, String)> {
    let mut gaps = Values::default();
    gaps.extend(telemetry.windows(2).map(|pair| pair[1].time - pair[0].time));
    let gaps = gaps.sample()?;
    let (longest, median) = (gaps.max(), gaps.percentile(MEDIAN));
    let words = || format!("no sample was taken for {longest:.3} s, where {median:.3} s is usual");
    (longest > SHORTEST_SILENCE && is_beyond(longest, median, gaps.count()))
        .then(|| (longest, words()))
}

fn is_beyond(seconds: f64, median: f64, count: usize) -> bool {
    count >= FEWEST && seconds > BEYOND * median
}

/// Steps of the same work within a factor of two.
fn kind(step: &StepRecord) -> [u32; 4] {
    [
        step.prefill_tokens as u64,
        step.decode_tokens as u64,
        step.bytes,
        step.flops,
    ]
    .map(|amount| u64::BITS - amount.leading_zeros())
}
