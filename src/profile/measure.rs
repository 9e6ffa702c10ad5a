//! Steps of one load, one after another, with every operation timed.

use std::sync::Arc;
use std::time::Duration;

use super::counters::{Counters, Counts};
use crate::exec::{ExecError, Executor, StepOutput, StepPlan};
use crate::ground::recorder::OpRecord;
use crate::ground::results::Roofs;
use crate::ground::{Clock, Progress, Task};
use crate::telemetry;

/// Steps that nobody asked for a number of: so many as take this long,
const DEFAULT_TIME: Duration = Duration::from_secs(3);
/// and no fewer or more.
const FEWEST: usize = 4;
const MOST: usize = 64;
/// Steps whose records always fit.
const ALWAYS: usize = 1000;

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

/// Runs `plan` on the executor: once to warm up, once to see how long it takes; measures the device's roofs, which
/// takes long and much memory; then runs it `count` times in earnest. `progress` is told of the steps of `label`; where it
/// says stop, those that are done count, and none where the count had not begun.
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
    let seen = step(executor).and_then(|_| step(executor));
    // A step that was left in the middle failed for that.
    if progress.is_stopped() {
        return Ok(Measured::default());
    }
    let (start, end) = seen?;
    let count = count.of(end - start);
    if count > ALWAYS {
        // One step tells what all of them will take.
        executor.start_timelines(clock)?;
        step(executor)?;
        let timelines = executor.take_timelines()?;
        let bytes = timelines.iter().flatten().map(bytes).sum();
        check(count, bytes, telemetry::memory().available)?;
    }
    let roofs = executor.measure_roofs();
    if progress.is_stopped() {
        return Ok(Measured::default());
    }
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
            Err(_) if progress.is_stopped() => {}
            Err(error) => failed = Some(error),
        }
        progress.advance(1);
    }
    let counts = counters.map_or(Counts::default(), Counters::stop);
    progress.finish();
    match failed {
        Some(error) => Err(error),
        None => Ok(Measured {
            timelines: until(steps.last(), executor.take_timelines()?),
            steps,
            roofs,
            counts,
        }),
    }
}

/// Without the operations of a step that was left in the middle, behind the `last` whole one.
fn until(
    last: Option<&(Duration, Duration)>,
    mut timelines: Vec<Vec<OpRecord>>,
) -> Vec<Vec<OpRecord>> {
    let end = last.map_or(Duration::ZERO, |(_, end)| *end);
    for timeline in &mut timelines {
        timeline.truncate(timeline.partition_point(|op| op.queued < end));
    }
    timelines
}

fn bytes(record: &OpRecord) -> u64 {
    let launches = record.launches.as_deref().map_or(0, size_of_val);
    (size_of::<OpRecord>() + launches) as u64
}

/// Refuses steps whose `records` bytes each do not fit into `available` ones; 0 is unknown.
fn check(steps: usize, records: u64, available: u64) -> Result<(), ExecError> {
    let own = size_of::<(Duration, Duration)>() as u64;
    // A vector may have twice the room that it needs.
    let each = 2 * (own + records);
    let bytes = each.saturating_mul(steps as u64);
    match available > 0 && bytes > available {
        true => Err(ExecError::TooManySteps {
            steps,
            bytes,
            available,
            most: available / each,
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_steps_than_memory_holds_are_refused_with_their_size() {
        let most = 1 << 31;
        for (steps, records) in [(most, 0), (most, 30_000), (2000, 100 << 20)] {
            let error = check(steps, records, 16 << 30).unwrap_err().to_string();
            let named = format!("--steps {steps}: ");
            assert!(
                error.starts_with(&named) && error.contains("at most"),
                "{error}"
            );
        }
        assert!(check(100_000, 30_000, 16 << 30).is_ok());
        assert!(check(most, 30_000, 0).is_ok());
    }
}
