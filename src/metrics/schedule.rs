//! Whether requests of an open loop were handed over when they were due.

use std::iter::Peekable;

use crate::ground::{Log, RequestId, RequestRecord, StepRecord, log};

/// A request, and how far behind its schedule it was handed over, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Late {
    pub id: RequestId,
    pub seconds: f64,
}

impl Late {
    /// The one that is further behind.
    pub fn later(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.seconds > a.seconds { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// Goes through the steps of a run beside its requests, which are in order of arrival.
pub struct Follower<'a> {
    steps: Peekable<log::Iter<'a, StepRecord>>,
}

impl<'a> Follower<'a> {
    pub fn new(steps: &'a Log<StepRecord>) -> Self {
        Self {
            steps: steps.iter().peekable(),
        }
    }

    /// A request that arrives inside a step is due at its end, for nothing enters a step under way.
    pub fn late(&mut self, record: &RequestRecord) -> Option<Late> {
        let arrival = record.arrival;
        while self.steps.next_if(|step| step.end <= arrival).is_some() {}
        let due = match self.steps.peek() {
            Some(step) if step.start < arrival => step.end,
            _ => arrival,
        };
        let seconds = (record.submitted? - due).max(0.0);
        let id = record.id;
        Some(Late { id, seconds })
    }
}
