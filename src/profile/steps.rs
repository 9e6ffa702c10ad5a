//! Timelines cut into steps, and which of these count.

use std::time::Duration;

use super::MICRO;
use crate::ground::recorder::{OpRecord, is_exchange};

/// Of the steps, ordered by their time, one in so many is left out at either end: what else a machine does
/// makes some slow, and means over the rest still add up.
const CUT_SHARE: usize = 4;

/// One step as every rank saw it.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    pub start: Duration,
    pub end: Duration,
    /// Of each rank, in order of their starts.
    pub ops: Vec<&'a [OpRecord]>,
}

impl<'a> Step<'a> {
    /// Cuts each rank's timeline at the starts of `steps`, which are in order, by when the host began its operations.
    pub fn cut(steps: &[(Duration, Duration)], timelines: &'a [Vec<OpRecord>]) -> Vec<Self> {
        let steps = steps.iter().enumerate().map(|(index, &(start, end))| {
            let next = steps.get(index + 1).map(|(start, _)| *start);
            let ops = timelines.iter().map(|ops| {
                let first = ops.partition_point(|op| op.queued < start);
                let behind = next.map(|next| ops.partition_point(|op| op.queued < next));
                &ops[first..behind.unwrap_or(ops.len())]
            });
            Self {
                start,
                end,
                ops: ops.collect(),
            }
        });
        steps.collect()
    }

    pub fn time(&self) -> Duration {
        self.end - self.start
    }

    /// Time before each operation of `rank` in which none of its operations ran, then that behind the last
    /// one.
    pub fn gaps(&self, rank: usize) -> (Vec<Duration>, Duration) {
        let mut busy_until = self.start;
        let before = self.ops[rank].iter().map(|op| {
            let gap = op.start.saturating_sub(busy_until);
            busy_until = busy_until.max(op.end());
            gap
        });
        let before = before.collect();
        (before, self.end.saturating_sub(busy_until))
    }

    /// All gaps of `rank`.
    pub fn idle(&self, rank: usize) -> Duration {
        let (before, behind) = self.gaps(rank);
        before.iter().sum::<Duration>() + behind
    }

    /// Of each exchange between ranks, in order: how long `rank` waited until the last one had come. It ends on all of
    /// them at once, so that the last to come spends the least time in it; their clocks need not agree.
    pub fn waits(&self, rank: usize) -> Vec<Duration> {
        let exchanges = |rank: usize| self.ops[rank].iter().filter(|op| is_exchange(op.name));
        let waits = exchanges(rank).enumerate().map(|(index, own)| {
            let ranks = (0..self.ops.len()).filter_map(|r| exchanges(r).nth(index));
            let least = ranks.map(|op| op.time).min().unwrap_or(own.time);
            own.time.saturating_sub(least)
        });
        waits.collect()
    }
}

/// The middle half of the steps by their time, in any order; all of fewer than four.
pub fn middle(mut steps: Vec<Step>) -> Vec<Step> {
    steps.sort_by_key(Step::time);
    let cut = steps.len() / CUT_SHARE;
    steps.truncate(steps.len() - cut);
    steps.drain(..cut);
    steps
}

/// Mean over `steps`, microseconds.
pub fn mean_us<'a>(steps: &[Step<'a>], time: impl Fn(&Step<'a>) -> Duration) -> f64 {
    let times = steps.iter().map(|step| time(step).as_secs_f64() * MICRO);
    times.sum::<f64>() / steps.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::recorder::Cost;

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn op(name: &'static str, start: u64, time: u64) -> OpRecord {
        OpRecord {
            name,
            layer: None,
            queued: us(start),
            start: us(start),
            time: us(time),
            cost: Cost::default(),
            launches: None,
        }
    }

    /// A virtual GPU's clock hardly moves.
    #[test]
    fn a_device_whose_clock_lags_keeps_its_steps() {
        let lagging = |queued| OpRecord {
            queued: us(queued),
            ..op("a", 1, 1)
        };
        let timelines = vec![vec![lagging(11), lagging(12), lagging(25)]];
        let steps = Step::cut(&[(us(10), us(20)), (us(20), us(30))], &timelines);
        let counts: Vec<_> = steps.iter().map(|step| step.ops[0].len()).collect();
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn operations_fall_into_their_step() {
        let timelines = vec![
            vec![op("a", 1, 3), op("all_reduce", 6, 3), op("a", 11, 2)],
            vec![op("a", 2, 5), op("all_reduce", 8, 1), op("a", 10, 9)],
        ];
        let steps = Step::cut(&[(us(0), us(10)), (us(10), us(20))], &timelines);
        let counts: Vec<_> = steps
            .iter()
            .map(|s| (s.ops[0].len(), s.ops[1].len()))
            .collect();
        assert_eq!(counts, [(2, 2), (1, 1)]);
        assert_eq!(steps[0].gaps(0), (vec![us(1), us(2)], us(1)));
        assert_eq!(steps[0].waits(0), [us(2)]);
        assert_eq!(steps[0].waits(1), [us(0)]);
        // Operations that run beside each other leave no gap.
        let timelines = vec![vec![op("a", 0, 6), op("b", 2, 2), op("a", 7, 1)]];
        let steps = Step::cut(&[(us(0), us(9))], &timelines);
        assert_eq!(steps[0].gaps(0), (vec![us(0), us(0), us(1)], us(1)));
    }

    #[test]
    fn the_slowest_and_the_fastest_steps_are_left_out() {
        let ends = [9, 1, 5, 4, 6, 2, 8, 7];
        let steps = ends.map(|end| Step {
            start: us(0),
            end: us(end),
            ops: Vec::new(),
        });
        let times: Vec<_> = middle(steps.to_vec()).iter().map(Step::time).collect();
        assert_eq!(times, [4, 5, 6, 7].map(us));
        assert_eq!(middle(steps[..3].to_vec()).len(), 3);
    }
}
