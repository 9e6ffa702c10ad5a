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
    /// `None`: there is no rank, or they differ in their exchanges.
    pub fn of(ranks: &[DeviceTimes]) -> Option<Self> {
        let first = ranks.first()?.exchanges.len();
        if ranks.iter().any(|rank| rank.exchanges.len() != first) {
            return None;
        }
        let mean = |sum: Duration| sum.div_f64(ranks.len() as f64);
        let sum = |rank: &DeviceTimes| rank.exchanges.iter().sum::<Duration>();
        // An exchange ends on all ranks at once: the last to come spends the least time in it, and waits for nobody.
        let least = |index: usize| ranks.iter().map(|rank| rank.exchanges[index]).min();
        let unavoidable: Duration = (0..first).filter_map(least).sum();
        let waits = ranks
            .iter()
            .map(|rank| sum(rank).saturating_sub(unavoidable));
        Some(Self {
            compute: mean(
                ranks
                    .iter()
                    .map(|rank| rank.whole.saturating_sub(sum(rank)))
                    .sum(),
            ),
            communication: mean(ranks.iter().map(sum).sum()),
            wait: mean(waits.sum()),
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
    /// With what devices have measured, if those of all `ranks` have.
    pub fn with(self, measured: &[DeviceTimes], ranks: usize) -> Self {
        let all = Some(measured).filter(|measured| measured.len() == ranks);
        let times = all.and_then(StepTimes::of);
        times.map_or(self, Self::OnDevices)
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
        let times = StepTimes::of(&[rank(20, &[5, 2]), rank(22, &[2, 6])]).unwrap();
        assert_eq!(times.communication, us(15) / 2);
        assert_eq!(times.wait, us(7) / 2);
        assert_eq!(times.compute, us(13 + 14) / 2);
        let alone = StepTimes::of(&[rank(9, &[])]).unwrap();
        assert_eq!((alone.compute, alone.communication), (us(9), us(0)));
        assert_eq!(StepTimes::of(&[rank(9, &[1]), rank(9, &[])]), None);
    }
}
