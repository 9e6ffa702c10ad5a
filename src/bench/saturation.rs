//! Whether the queue of an open loop keeps growing: more comes than is served, and no wait would ever be typical.

/// Arrivals in the shortest stretch that is looked at; others are twice, four times... as long.
const SHORTEST: usize = 16;
/// Stretches in a row, of which each must have a longer queue than the one before it.
const STRETCHES: usize = 5;
/// Standard deviations of arrivals and departures as they come by chance.
const SURE: f64 = 3.0;

/// Requests that waited as each request came.
#[derive(Debug)]
pub struct Queue {
    /// Of all of them up to each, and before the first.
    sums: Vec<u64>,
    /// Variance of the arrivals over that of a Poisson process.
    spread: f64,
}

impl Queue {
    /// `burstiness`: shape of the gaps between arrivals.
    pub fn new(burstiness: f64) -> Self {
        Self {
            sums: vec![0],
            spread: (1.0 / burstiness).max(1.0),
        }
    }

    /// Another request came, and so many wait; whether the queue has kept growing, by more than chance explains.
    pub fn grows(&mut self, waiting: usize) -> bool {
        let sum = self.sums.last().copied().unwrap_or(0);
        self.sums.push(sum + waiting as u64);
        let count = self.sums.len() - 1;
        let lengths = std::iter::successors(Some(SHORTEST), |length| length.checked_mul(2));
        let lengths = lengths.take_while(|length| length * STRETCHES <= count);
        lengths
            .filter(|length| count.is_multiple_of(*length))
            .any(|length| self.has_grown(length))
    }

    /// Over the last stretches of so many arrivals each.
    fn has_grown(&self, length: usize) -> bool {
        let end = self.sums.len() - 1;
        let mean = |stretch: usize| {
            let from = end - (STRETCHES - stretch) * length;
            (self.sums[from + length] - self.sums[from]) as f64 / length as f64
        };
        let rises = (1..STRETCHES).all(|stretch| mean(stretch) > mean(stretch - 1));
        // Between the middles of the first and the last.
        let arrivals = (length * (STRETCHES - 1)) as f64;
        let chance = (arrivals * (self.spread + 1.0)).sqrt();
        rises && mean(STRETCHES - 1) - mean(0) > SURE * chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Arrivals;

    /// Arrivals until the queue of one server of a fixed rate is found to grow; `None`: not in `requests`.
    fn found(load: f64, burstiness: f64, requests: usize, seed: u64) -> Option<usize> {
        let arrivals = Arrivals::new(load, burstiness).unwrap();
        let mut queue = Queue::new(burstiness);
        let mut ends: Vec<f64> = Vec::new();
        for (at, arrival) in arrivals.times(seed).take(requests).enumerate() {
            // Each takes a second.
            let free = ends.last().copied().unwrap_or(0.0);
            let waiting = at - ends.partition_point(|end| *end - 1.0 <= arrival);
            ends.push(free.max(arrival) + 1.0);
            if queue.grows(waiting) {
                return Some(at);
            }
        }
        None
    }

    #[test]
    fn more_than_can_be_served_is_found_soon() {
        for seed in 0..20 {
            assert!(found(4.0, 1.0, 200, seed).is_some(), "seed {seed}");
            assert!(found(2.0, 1.0, 400, seed).is_some(), "seed {seed}");
            assert!(found(1.2, 1.0, 4000, seed).is_some(), "seed {seed}");
            assert!(found(2.0, 0.25, 2000, seed).is_some(), "seed {seed}");
        }
    }

    #[test]
    fn what_can_be_served_is_let_go_on() {
        for seed in 0..20 {
            for load in [0.3, 0.7, 0.85] {
                assert_eq!(found(load, 1.0, 20_000, seed), None, "{load}, seed {seed}");
            }
            assert_eq!(found(0.7, 0.25, 20_000, seed), None, "bursts, seed {seed}");
        }
    }
}
