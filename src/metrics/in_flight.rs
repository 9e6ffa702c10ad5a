//! How many requests are between arrival and last token.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::quantile::ratio;
use super::timing::Window;
use crate::ground::RequestRecord;

/// Counts requests that are added in order of arrival, in memory of those in flight at one time.
#[derive(Debug, Default)]
pub struct InFlight {
    /// Of those that have not ended at the latest arrival.
    ends: BinaryHeap<End>,
    since: f64,
    /// Request-seconds.
    area: f64,
    max: usize,
}

impl InFlight {
    /// One without a token is left out.
    pub fn add(&mut self, record: &RequestRecord) {
        let Some(&last) = record.tokens.last() else {
            return;
        };
        // Ends come before arrivals of the same instant, as in a closed loop.
        while self.ends.peek().is_some_and(|end| end.0 <= record.arrival) {
            self.end_one();
        }
        self.pass(record.arrival);
        self.ends.push(End(last));
        self.max = self.max.max(self.ends.len());
    }

    /// After the last request.
    pub fn finish(&mut self) {
        while !self.ends.is_empty() {
            self.end_one();
        }
    }

    /// Over the window; `None` when it has no length.
    pub fn mean(&self, window: Window) -> Option<f64> {
        ratio(self.area, window.length())
    }

    pub fn max(&self) -> usize {
        self.max
    }

    fn end_one(&mut self) {
        if let Some(&End(time)) = self.ends.peek() {
            self.pass(time);
            self.ends.pop();
        }
    }

    fn pass(&mut self, time: f64) {
        self.area += self.ends.len() as f64 * (time - self.since);
        self.since = time;
    }
}

/// The earliest is the greatest.
#[derive(Debug, Clone, Copy)]
struct End(f64);

impl Ord for End {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0)
    }
}

impl PartialOrd for End {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for End {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for End {}
