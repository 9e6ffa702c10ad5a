//! What one request's time stamps say. Seconds; `None` where a stamp is missing.

use crate::ground::RequestRecord;

/// Finished, and not failed.
pub fn succeeded(record: &RequestRecord) -> bool {
    record.finish.is_some() && record.error.is_none()
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
    /// `None` when no request generated a token.
    pub fn of(records: &[RequestRecord]) -> Option<Self> {
        let start = records.iter().map(|r| r.arrival).reduce(f64::min)?;
        let end = records
            .iter()
            .filter_map(|r| r.tokens.last().copied())
            .reduce(f64::max)?;
        Some(Self { start, end })
    }

    pub fn length(&self) -> f64 {
        self.end - self.start
    }

    pub fn contains(&self, time: f64) -> bool {
        (self.start..=self.end).contains(&time)
    }
}
