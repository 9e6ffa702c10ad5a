//! What one request's time stamps say. Seconds; `None` where a stamp is missing.

use std::collections::BTreeMap;

use crate::ground::{FinishReason, RequestRecord};

/// Its answer is whole, and it did not fail.
pub fn succeeded(record: &RequestRecord) -> bool {
    record.finish.is_some_and(FinishReason::is_whole) && record.error.is_none()
}

/// First token less arrival.
pub fn ttft(record: &RequestRecord) -> Option<f64> {
    Some(record.tokens.first()? - record.arrival)
}

/// First token less first scheduled.
pub fn ttft_service(record: &RequestRecord) -> Option<f64> {
    Some(record.tokens.first()? - record.admitted?)
}

/// First scheduled less arrival.
pub fn queue(record: &RequestRecord) -> Option<f64> {
    Some(record.admitted? - record.arrival)
}

/// Last token less arrival.
pub fn latency(record: &RequestRecord) -> Option<f64> {
    Some(record.tokens.last()? - record.arrival)
}

/// Last token less hand-over.
pub fn service(record: &RequestRecord) -> Option<f64> {
    Some(record.tokens.last()? - record.submitted?)
}

/// Hand-over less arrival: the harness's own delay.
pub fn submit_delay(record: &RequestRecord) -> Option<f64> {
    Some(record.submitted? - record.arrival)
}

/// Mean time between tokens; `None` below two tokens.
pub fn tpot(record: &RequestRecord) -> Option<f64> {
    let gaps = record.tokens.len().checked_sub(1).filter(|&n| n > 0)?;
    Some((record.tokens.last()? - record.tokens.first()?) / gaps as f64)
}

/// Latency over output tokens.
pub fn normalized_latency(record: &RequestRecord) -> Option<f64> {
    Some(latency(record)? / record.tokens.len() as f64)
}

/// Gaps between consecutive tokens.
pub fn gaps(record: &RequestRecord) -> impl Iterator<Item = f64> {
    record.tokens.windows(2).map(|pair| pair[1] - pair[0])
}

/// First arrival to last token of any request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    pub start: f64,
    pub end: f64,
}

impl Window {
    pub fn length(&self) -> f64 {
        self.end - self.start
    }

    pub fn contains(&self, time: f64) -> bool {
        (self.start..=self.end).contains(&time)
    }
}

/// Most output tokens of one second, in buckets from the first arrival. Requests are added in order of arrival,
/// after which the seconds before theirs are settled.
#[derive(Debug, Default)]
pub struct BusiestSecond {
    start: Option<f64>,
    /// Of seconds that may still get tokens. Sparse: an open loop may leave hours without one.
    open: BTreeMap<u64, u64>,
    most: Option<u64>,
}

impl BusiestSecond {
    /// Where the first second begins; later calls change nothing.
    pub fn begin(&mut self, start: f64) {
        self.start.get_or_insert(start);
    }

    pub fn add(&mut self, record: &RequestRecord) {
        let start = *self.start.get_or_insert(record.arrival);
        let second = |time: f64| (time - start) as u64;
        let arrival = second(record.arrival);
        while let Some(entry) = self.open.first_entry().filter(|e| *e.key() < arrival) {
            self.most = self.most.max(Some(entry.remove()));
        }
        for &time in &record.tokens {
            *self.open.entry(second(time)).or_default() += 1;
        }
    }

    pub fn most(&self) -> Option<u64> {
        self.most.max(self.open.values().copied().max())
    }
}
