//! Where a step's time went, as the devices that ran it measured it.

use std::time::Duration;

/// One rank's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceTimes {
    /// From the begin of its first operation to the end of its last.
    pub whole: Duration,
    /// Of each exchange with other ranks, in order; the wait for them included.
    pub exchanges: Vec<Duration>,
}

impl DeviceTimes {
    /// From the times of marks around the step, and of two around each exchange; `None`: they do not belong together.
    pub fn of(around: &[Duration], exchanges: &[Duration]) -> Option<Self> {
        let [start, end] = around else {
            return None;
        };
        let (pairs, []) = exchanges.as_chunks::<2>() else {
            return None;
        };
        let time = |[start, end]: &[Duration; 2]| end.saturating_sub(*start);
        Some(Self {
            whole: time(&[*start, *end]),
            exchanges: pairs.iter().map(time).collect(),
        })
    }
}

/// One rank's part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RankTimes {
    /// Outside of exchanges; `None`: the rest of the executor's time.
    pub compute: Option<Duration>,
    /// In them, waits included.
    pub communication: Duration,
    /// Part of it before the slowest rank had come; `None`: nobody can tell.
    pub wait: Option<Duration>,
}

impl RankTimes {
    /// `None`: the ranks differ in their exchanges.
    pub fn of(ranks: &[DeviceTimes]) -> Option<Vec<Self>> {
        let first = ranks.first()?.exchanges.len();
        if ranks.iter().any(|rank| rank.exchanges.len() != first) {
            return None;
        }
        // An exchange ends on all ranks at once: the last to come spends the least time in it, and waits for nobody.
        let least = |index: usize| ranks.iter().map(|rank| rank.exchanges[index]).min();
        let unavoidable: Duration = (0..first).filter_map(least).sum();
        let one = |rank: &DeviceTimes| {
            let communication = rank.exchanges.iter().sum::<Duration>();
            Self {
                compute: Some(rank.whole.saturating_sub(communication)),
                communication,
                wait: Some(communication.saturating_sub(unavoidable)),
            }
        };
        Some(ranks.iter().map(one).collect())
    }
}

/// Means over the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepTimes {
    /// Outside of exchanges.
    pub compute: Duration,
    /// In them, waits included.
    pub communication: Duration,
    /// Part of it before the slowest rank had come.
    pub wait: Duration,
}

impl StepTimes {
    /// `None`: there is no rank, or one was not timed in full.
    pub fn of(ranks: &[RankTimes]) -> Option<Self> {
        let mean = |of: fn(&RankTimes) -> Option<Duration>| {
            let sum: Option<Duration> = ranks.iter().map(of).sum();
            sum.filter(|_| !ranks.is_empty())
                .map(|sum| sum.div_f64(ranks.len() as f64))
        };
        Some(Self {
            compute: mean(|rank| rank.compute)?,
            communication: mean(|rank| Some(rank.communication))?,
            wait: mean(|rank| rank.wait)?,
        })
    }
}

/// What is known of a step's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Times {
    /// Operations are done when they return, and exchanges are timed on the host.
    #[default]
    OnHost,
    /// Devices ran it behind the host, and nobody timed them.
    Untimed,
    OnDevices(StepTimes),
}

impl Times {
    /// With what devices have measured of all ranks.
    pub fn with(self, ranks: &[RankTimes]) -> Self {
        StepTimes::of(ranks).map_or(self, Self::OnDevices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn marks_become_times() {
        let marks = [us(0), us(2), us(5), us(11)];
        let times = DeviceTimes::of(&[us(1), us(21)], &marks).unwrap();
        assert_eq!(times.whole, us(20));
        assert_eq!(times.exchanges, [us(2), us(6)]);
        assert_eq!(DeviceTimes::of(&[us(1)], &marks), None);
        assert_eq!(DeviceTimes::of(&[us(1), us(21)], &marks[1..]), None);
    }

    #[test]
    fn the_rank_that_comes_last_waits_for_nobody() {
        let rank = |whole, exchanges: &[u64]| DeviceTimes {
            whole: us(whole),
            exchanges: exchanges.iter().copied().map(us).collect(),
        };
        // The first waits 3 us in the first exchange, the second 4 us in the second.
        let of = |ranks: &[DeviceTimes]| StepTimes::of(&RankTimes::of(ranks)?);
        let ranks = [rank(20, &[5, 2]), rank(22, &[2, 6])];
        let waits: Vec<_> = RankTimes::of(&ranks)
            .unwrap()
            .iter()
            .map(|r| r.wait)
            .collect();
        assert_eq!(waits, [Some(us(3)), Some(us(4))]);
        let times = of(&ranks).unwrap();
        assert_eq!(times.communication, us(15) / 2);
        assert_eq!(times.wait, us(7) / 2);
        assert_eq!(times.compute, us(13 + 14) / 2);
        let alone = of(&[rank(9, &[])]).unwrap();
        assert_eq!((alone.compute, alone.communication), (us(9), us(0)));
        assert_eq!(of(&[rank(9, &[1]), rank(9, &[])]), None);
    }
}
