//! The one place every device operation goes through: counts its bytes and FLOPs, and times it
//! when asked to. Off, it costs two additions an operation.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

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
    pub time: Duration,
    pub cost: Cost,
}

/// Counts always, times when a timeline is on. One a rank; never shared between threads.
#[derive(Debug, Default)]
pub struct Recorder {
    total: Cell<Cost>,
    timeline: RefCell<Option<Vec<OpRecord>>>,
}

impl Recorder {
    /// Starts keeping one `OpRecord` an operation.
    pub fn start_timeline(&self) {
        *self.timeline.borrow_mut() = Some(Vec::new());
    }

    /// The operations since `start_timeline`; timing stops.
    pub fn take_timeline(&self) -> Vec<OpRecord> {
        self.timeline.borrow_mut().take().unwrap_or_default()
    }

    /// The cost of all operations since the last call.
    pub fn take_total(&self) -> Cost {
        self.total.take()
    }

    /// An operation whose time is known without running it.
    pub fn note(&self, operation: OpRecord) {
        let mut total = self.total.get();
        total += operation.cost;
        self.total.set(total);
        if let Some(timeline) = self.timeline.borrow_mut().as_mut() {
            timeline.push(operation);
        }
    }

    pub fn run<T, E>(
        &self,
        name: &'static str,
        layer: Option<usize>,
        cost: Cost,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut total = self.total.get();
        total += cost;
        self.total.set(total);
        if self.timeline.borrow().is_none() {
            return operation();
        }
        let start = Instant::now();
        let result = operation();
        let time = start.elapsed();
        if let Some(timeline) = self.timeline.borrow_mut().as_mut() {
            timeline.push(OpRecord {
                name,
                layer,
                time,
                cost,
            });
        }
        result
    }
}
