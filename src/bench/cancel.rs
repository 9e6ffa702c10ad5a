//! Requests that whoever sent them gives up: which, and when.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::ground::RequestId;
use crate::ground::clock::seconds;
use crate::ground::results::Cancel;
use crate::workload::item_seed;

/// Keeps these draws apart from those of prompts and arrivals.
const SALT: u64 = 0x6361_6e63_656c_6c65;

/// Of a run: each request is drawn by its number, whatever happens to the others.
#[derive(Debug)]
pub struct Cancellations {
    cancel: Cancel,
    seed: u64,
    /// Those that are given up at a time, in order of it.
    timed: VecDeque<(Duration, RequestId)>,
    /// Tokens after which each of the others is, while it is in flight.
    within: HashMap<RequestId, usize>,
    /// Those whose part of the answer has come.
    due: Vec<RequestId>,
}

impl Cancellations {
    pub fn new(cancel: Cancel, seed: u64) -> Self {
        Self {
            cancel,
            seed,
            timed: VecDeque::new(),
            within: HashMap::new(),
            due: Vec::new(),
        }
    }

    /// A request of at most `most` tokens was sent. Those of one run come in order of arrival.
    pub fn sent(&mut self, id: RequestId, arrival: Duration, most: usize) {
        match self.cancel.after_s {
            Some(after) if self.drawn(id).is_some() => {
                let time = arrival.saturating_add(seconds(after));
                self.timed.push_back((time, id));
            }
            Some(_) => {}
            None => self
                .within
                .extend(self.part(id, most).map(|part| (id, part))),
        }
    }

    /// A request has `tokens` now.
    pub fn token(&mut self, id: RequestId, tokens: usize) {
        if self.within.get(&id) == Some(&tokens) {
            self.due.push(id);
        }
    }

    /// A request is in flight no more.
    pub fn ended(&mut self, id: RequestId) {
        self.within.remove(&id);
    }

    /// Those to give up at `now`; some of them may have ended.
    pub fn take(&mut self, now: Duration) -> Vec<RequestId> {
        let mut all = std::mem::take(&mut self.due);
        while let Some((_, id)) = self.timed.pop_front_if(|(time, _)| *time <= now) {
            all.push(id);
        }
        all
    }

    /// Tokens after which a request is given up; `None`: it is not, or has no part but the whole.
    fn part(&self, id: RequestId, most: usize) -> Option<usize> {
        let mut rng = self.drawn(id)?;
        (most > 1).then(|| rng.random_range(1..most))
    }

    /// What is left to draw of a request that is given up.
    fn drawn(&self, id: RequestId) -> Option<StdRng> {
        let mut rng = StdRng::seed_from_u64(item_seed(self.seed ^ SALT, id as usize));
        let share = self.cancel.share;
        (rng.random::<f64>() < share).then_some(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cancellations(text: &str, seed: u64) -> Cancellations {
        Cancellations::new(text.parse().unwrap(), seed)
    }

    #[test]
    fn so_many_are_given_up_somewhere_in_their_answers() {
        let some = cancellations("0.25", 7);
        let parts: Vec<usize> = (0..10_000).filter_map(|id| some.part(id, 11)).collect();
        assert!((2300..2700).contains(&parts.len()), "{}", parts.len());
        for part in 1..11 {
            let count = parts.iter().filter(|tokens| **tokens == part).count();
            assert!((180..320).contains(&count), "{count} after {part}");
        }
        assert_eq!(some.part(0, 1).or(some.part(1, 1)), None);
        let all = cancellations("1", 7);
        assert!((0..100).all(|id| all.part(id, 5).is_some()));
        let other = cancellations("0.25", 8);
        assert!((0..100).any(|id| some.part(id, 11) != other.part(id, 11)));
    }

    #[test]
    fn times_are_kept_in_order_of_arrival() {
        let mut timed = cancellations("1:2", 0);
        let at = Duration::from_secs;
        timed.sent(0, at(1), 8);
        timed.sent(1, at(3), 8);
        timed.token(0, 1);
        assert!(timed.take(at(2)).is_empty());
        assert_eq!(timed.take(at(3)), [0]);
        assert_eq!(timed.take(at(9)), [1]);
    }
}
