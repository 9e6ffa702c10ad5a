//! The one place every device operation goes through: counts its bytes and FLOPs, and times it
//! when asked to. Off, it costs two additions an operation.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;

/// What an operation must move and compute, by formula; not what a cache happened to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes read from and written to memory.
    pub bytes: u64,
    /// Floating-point operations; a multiply-add counts as two.
    pub flops: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.flops += other.flops;
    }
}

/// What ranks exchanged, as one of them saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Of the messages: what this rank brought to each exchange.
    pub bytes: u64,
    /// In the exchanges, the wait for the slowest rank included.
    pub time: Duration,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.time += other.time;
    }
}

/// One timed operation.
#[derive(Debug, Clone, PartialEq)]
pub struct OpRecord {
    pub name: &'static str,
    /// `None` for operations outside the decoder layers.
    pub layer: Option<usize>,
    /// On the timeline's clock.
    pub start: Duration,
    pub time: Duration,
    pub cost: Cost,
}

impl OpRecord {
    /// On the timeline's clock.
    pub fn end(&self) -> Duration {
        self.start + self.time
    }
}

/// Records on one clock.
struct Timeline {
    clock: Arc<dyn Clock>,
    records: Vec<OpRecord>,
}

/// Counts always, times when a timeline is on. One a rank; never shared between threads.
#[derive(Default)]
pub struct Recorder {
    total: Cell<Cost>,
    timeline: RefCell<Option<Timeline>>,
}

impl Recorder {
    /// Starts keeping one `OpRecord` an operation.
    pub fn start_timeline(&self, clock: Arc<dyn Clock>) {
        *self.timeline.borrow_mut() = Some(Timeline {
            clock,
            records: Vec::new(),
        });
    }

    /// The operations since `start_timeline`; timing stops.
    pub fn take_timeline(&self) -> Vec<OpRecord> {
        let timeline = self.timeline.borrow_mut().take();
        timeline.map_or(Vec::new(), |timeline| timeline.records)
    }

    /// Whether operations are timed one by one.
    pub fn is_timing(&self) -> bool {
        self.timeline.borrow().is_some()
    }

    /// The cost of all operations since the last call.
    pub fn take_total(&self) -> Cost {
        self.total.take()
    }

    /// An operation whose time is known without running it. On the timeline it starts now, or when the
    /// one before it has ended.
    pub fn note(&self, operation: OpRecord) {
        self.count(operation.cost);
        if let Some(timeline) = self.timeline.borrow_mut().as_mut() {
            let now = timeline.clock.now();
            let start = timeline
                .records
                .last()
                .map_or(now, |last| last.end().max(now));
            timeline.records.push(OpRecord { start, ..operation });
        }
    }

    pub fn run<T, E>(
        &self,
        name: &'static str,
        layer: Option<usize>,
        cost: Cost,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.count(cost);
        let now = |timeline: &Timeline| timeline.clock.now();
        let Some(start) = self.timeline.borrow().as_ref().map(now) else {
            return operation();
        };
        let result = operation();
        if let Some(timeline) = self.timeline.borrow_mut().as_mut() {
            let time = timeline.clock.now() - start;
            timeline.records.push(OpRecord {
                name,
                layer,
                start,
                time,
                cost,
            });
        }
        result
    }

    fn count(&self, cost: Cost) {
        let mut total = self.total.get();
        total += cost;
        self.total.set(total);
    }
}
