//! Steps of one load, one after another, with every operation timed.

use std::sync::Arc;
use std::time::Duration;

use super::counters::{Counters, Counts};
use crate::exec::{ExecError, Executor, StepOutput, StepPlan};
use crate::ground::recorder::OpRecord;
use crate::ground::results::Roofs;
use crate::ground::{Clock, Progress, Task};

/// Steps that nobody asked for a number of: so many as take this long,
const DEFAULT_TIME: Duration = Duration::from_secs(3);
/// and no fewer or more.
const FEWEST: usize = 4;
const MOST: usize = 64;

/// How often the step is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepCount {
    Exactly(usize),
    /// By the time that one takes.
    ByTime,
}

impl StepCount {
    fn of(self, step: Duration) -> usize {
        match self {
            Self::Exactly(count) => count,
            Self::ByTime => {
                let times = DEFAULT_TIME.as_secs_f64() / step.as_secs_f64();
                (times as usize).clamp(FEWEST, MOST)
            }
        }
    }
}

/// What was seen of one load.
#[derive(Debug, Default)]
pub struct Measured {
    /// From submission to the end of the wait, in order.
    pub steps: Vec<(Duration, Duration)>,
    /// Of each rank: the operations of all steps.
    pub timelines: Vec<Vec<OpRecord>>,
    /// Of all ranks together; `None` where they cannot be measured.
    pub roofs: Option<Roofs>,
    /// Of all steps.
    pub counts: Counts,
}

/// Runs `plan` on the executor: once to warm up, once to see how long it takes, then `count` times
/// in earnest; the device's roofs last. `progress` is told of the steps of `label`; where it says stop, those that are done
/// count, and none where the count had not begun.
///
/// # Errors
/// A step fails, or operations cannot be timed on this device.
pub fn measure(
    executor: &mut dyn Executor,
    clock: &Arc<dyn Clock>,
    plan: &Arc<StepPlan>,
    count: StepCount,
    mut counters: Option<&mut Counters>,
    (label, progress): (&str, &dyn Progress),
) -> Result<Measured, ExecError> {
    let mut output = StepOutput::default();
    let mut step = |executor: &mut dyn Executor| -> Result<_, ExecError> {
        let start = clock.now();
        let ticket = executor.submit(plan.clone())?;
        executor.wait(ticket, &mut output)?;
        Ok((start, clock.now()))
    };
    step(executor)?;
    if progress.is_stopped() {
        return Ok(Measured::default());
    }
    let (start, end) = step(executor)?;
    let count = count.of(end - start);
    progress.start(Task::Steps(label.to_owned()), count as u64);
    let mut steps = Vec::new();
    executor.start_timelines(clock)?;
    if let Some(counters) = &mut counters {
        counters.start();
    }
    let mut failed = None;
    while steps.len() < count && !progress.is_stopped() && failed.is_none() {
        match step(executor) {
            Ok(times) => steps.push(times),
            Err(error) => failed = Some(error),
        }
        progress.advance(1);
    }
    let counts = counters.map_or(Counts::default(), Counters::stop);
    progress.finish();
    match failed {
        Some(error) => Err(error),
        None => Ok(Measured {
            steps,
            timelines: executor.take_timelines()?,
            roofs: executor.measure_roofs(),
            counts,
        }),
    }
}
