//! The one place every device operation goes through: counts its bytes and FLOPs, and times it
//! when asked to. Off, it costs two additions an operation.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::launch::Launch;
pub use super::timer::Timer;

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
    /// Part of it before the slowest rank had come; `None` where nobody can tell.
    pub wait: Option<Duration>,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.time += other.time;
        let both = self.wait.zip(other.wait);
        self.wait = both.map(|(a, b)| a + b).or(self.wait).or(other.wait);
    }
}

/// One timed operation.
#[derive(Debug, Clone, PartialEq)]
pub struct OpRecord {
    pub name: &'static str,
    /// `None` for operations outside the decoder layers.
    pub layer: Option<usize>,
    /// When the host began it, on the timeline's clock.
    pub queued: Duration,
    /// When the device did, on the same clock: its own may go another way.
    pub start: Duration,
    pub time: Duration,
    pub cost: Cost,
    /// In order; `None`: the device does not tell them.
    pub launches: Option<Vec<Launch>>,
}

impl OpRecord {
    /// On the timeline's clock.
    pub fn end(&self) -> Duration {
        self.start.saturating_add(self.time)
    }
}

/// Operations of a graph, with what its timer is to be told at each replay.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    operations: Vec<OpRecord>,
    marks: Vec<Vec<Launch>>,
}

/// Whether ranks wait for each other in the operation.
pub fn is_exchange(name: &str) -> bool {
    name.starts_with("all_") || name == "agree"
}

/// Records on one clock.
struct Timeline {
    clock: Arc<dyn Clock>,
    records: Vec<OpRecord>,
    device: Option<OnDevice>,
}

/// A timeline whose operations run later than they are queued: two marks for each record, after a first one.
struct OnDevice {
    timer: Box<dyn Timer>,
    /// Of the first mark, on the timeline's clock.
    origin: Duration,
    /// The first that went wrong.
    failure: Option<String>,
}

impl OnDevice {
    fn new(mut timer: Box<dyn Timer>, clock: &dyn Clock) -> Self {
        let failure = timer.mark().err();
        Self {
            timer,
            origin: clock.now(),
            failure,
        }
    }

    fn mark(&mut self) {
        if self.failure.is_none() {
            self.failure = self.timer.mark().err();
        }
    }

    /// Puts the device's times into `records`.
    fn fill(mut self, records: &mut [OpRecord]) -> Result<(), String> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let times = self.timer.times()?;
        let (pairs, _) = times.get(1..).unwrap_or_default().as_chunks::<2>();
        if pairs.len() != records.len() {
            return Err(format!(
                "{} operations have {} times",
                records.len(),
                pairs.len()
            ));
        }
        let mut launches = self.timer.launches()?;
        for (index, (record, [start, end])) in records.iter_mut().zip(pairs).enumerate() {
            record.start = self.origin + *start;
            record.time = end.saturating_sub(*start);
            // What was launched before its second mark.
            let own = launches
                .as_mut()
                .and_then(|all| all.get_mut(2 * (index + 1)));
            record.launches = own.map(std::mem::take);
        }
        Ok(())
    }
}

impl Timeline {
    fn enter(&mut self, name: &str, layer: Option<usize>) {
        if let Some(device) = &mut self.device {
            device.timer.enter(name, layer);
        }
    }

    fn leave(&mut self) {
        if let Some(device) = &mut self.device {
            device.timer.leave();
        }
    }

    fn mark(&mut self) {
        if let Some(device) = &mut self.device {
            device.mark();
        }
    }
}

/// Counts always, times when a timeline is on. One a rank; never shared between threads.
#[derive(Default)]
pub struct Recorder {
    total: Cell<Cost>,
    timeline: RefCell<Option<Timeline>>,
    /// The operation that runs, or failed last, and its layer.
    current: Cell<Option<(&'static str, Option<usize>)>>,
    exchanges: RefCell<Option<Box<dyn Timer>>>,
}

impl Recorder {
    /// Starts keeping one `OpRecord` an operation, timed by `timer` where the device runs behind the host.
    pub fn start_timeline(&self, clock: Arc<dyn Clock>, timer: Option<Box<dyn Timer>>) {
        *self.timeline.borrow_mut() = Some(Timeline {
            device: timer.map(|timer| OnDevice::new(timer, clock.as_ref())),
            clock,
            records: Vec::new(),
        });
    }

    /// The operations since `start_timeline`; timing stops.
    ///
    /// # Errors
    /// The device that timed them has failed.
    pub fn take_timeline(&self) -> Result<Vec<OpRecord>, String> {
        let Some(timeline) = self.timeline.borrow_mut().take() else {
            return Ok(Vec::new());
        };
        let mut records = timeline.records;
        if let Some(device) = timeline.device {
            device.fill(&mut records)?;
        }
        Ok(records)
    }

    /// From now on `timer` marks the begin and the end of each exchange.
    pub fn start_exchanges(&self, timer: Box<dyn Timer>) {
        *self.exchanges.borrow_mut() = Some(timer);
    }

    /// Its marks; `None`: none were begun.
    pub fn take_exchanges(&self) -> Option<Box<dyn Timer>> {
        self.exchanges.borrow_mut().take()
    }

    /// Whether operations are timed one by one.
    pub fn is_timing(&self) -> bool {
        self.timeline.borrow().is_some()
    }

    /// Whether what graphs run is timed, too.
    pub fn sees_replays(&self) -> bool {
        let timeline = self.timeline.borrow();
        let device = timeline.as_ref().and_then(|t| t.device.as_ref());
        device.is_some_and(|device| device.timer.sees_replays())
    }

    /// `capture`, and the operations that it captured in place of running them.
    pub fn captured<T>(&self, capture: impl FnOnce() -> T) -> (T, Captured) {
        let total = self.total.get();
        let before = self.timeline.borrow().as_ref().map(|t| t.records.len());
        let outcome = capture();
        self.total.set(total);
        let mut captured = Captured::default();
        if let Some((timeline, before)) = self.timeline.borrow_mut().as_mut().zip(before) {
            captured.operations = timeline.records.split_off(before);
            if let Some(device) = &mut timeline.device {
                let marks = 2 * captured.operations.len();
                captured.marks = device.timer.take_back(marks);
            }
        }
        (outcome, captured)
    }

    /// They run now, as one.
    pub fn replayed(&self, captured: &Captured) {
        for operation in &captured.operations {
            self.count(operation.cost);
        }
        if let Some(timeline) = self.timeline.borrow_mut().as_mut() {
            let queued = timeline.clock.now();
            let operations = captured.operations.iter().cloned();
            let operations = operations.map(|operation| OpRecord {
                queued,
                ..operation
            });
            timeline.records.extend(operations);
            if let Some(device) = &mut timeline.device {
                device.timer.replayed(&captured.marks);
            }
        }
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
            timeline.records.push(OpRecord {
                queued: start,
                start,
                ..operation
            });
        }
    }

    /// The operation that failed, if the last one did: its name, and its layer.
    pub fn failed(&self) -> Option<String> {
        self.current.get().map(|(name, layer)| match layer {
            Some(layer) => format!("{name} of layer {layer}"),
            None => name.to_owned(),
        })
    }

    pub fn run<T, E>(
        &self,
        name: &'static str,
        layer: Option<usize>,
        cost: Cost,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.current.set(Some((name, layer)));
        let result = self.timed(name, layer, cost, operation);
        if result.is_ok() {
            self.current.set(None);
        }
        result
    }

    fn timed<T, E>(
        &self,
        name: &'static str,
        layer: Option<usize>,
        cost: Cost,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.count(cost);
        let begin = |timeline: &mut Timeline| {
            timeline.enter(name, layer);
            timeline.mark();
            timeline.clock.now()
        };
        let Some(start) = self.timeline.borrow_mut().as_mut().map(begin) else {
            return self.run_marked(name, operation);
        };
        let result = operation();
        if let Some(timeline) = self.timeline.borrow_mut().as_mut() {
            timeline.mark();
            timeline.leave();
            let time = timeline.clock.now() - start;
            timeline.records.push(OpRecord {
                name,
                layer,
                queued: start,
                start,
                time,
                cost,
                launches: None,
            });
        }
        result
    }

    fn run_marked<T, E>(
        &self,
        name: &str,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mark = || {
            if let Some(timer) = self
                .exchanges
                .borrow_mut()
                .as_mut()
                .filter(|_| is_exchange(name))
            {
                // What cannot be marked has no time, which whoever reads the marks finds out.
                let _ = timer.mark();
            }
        };
        mark();
        let result = operation();
        mark();
        result
    }

    fn count(&self, cost: Cost) {
        let mut total = self.total.get();
        total += cost;
        self.total.set(total);
    }
}
