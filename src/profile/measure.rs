//! Steps of one load, one after another, with every operation timed.

use std::error::Error;
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

/// The steps of a load.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    pub count: StepCount,
    /// Timed by events, also where the device tells of its kernels.
    pub by_events: bool,
}

/// What was seen of one load.
#[derive(Debug, Default)]
pub struct Measured {
    /// From submission to the end of the wait, in order.
    pub steps: Vec<(Duration, Duration)>,
    /// Of each rank: the operations of all steps.
    pub timelines: Vec<Vec<OpRecord>>,
    /// Why operations are not timed by the device's own records of kernels, as a sentence; `None`: they are.
    pub untraced: Option<String>,
    /// Of all ranks together; `None` where they cannot be measured.
    pub roofs: Option<Roofs>,
    /// Of all steps.
    pub counts: Counts,
}

/// Runs `plan` on the executor: once to warm up, once to see how long it takes; measures the device's roofs, which
/// takes long and much memory; then runs it as `steps` says, in earnest. `progress` is told of the steps of `label`; where it
/// says stop, those that are done count, and none where the count had not begun.
///
/// # Errors
/// A step fails, or operations cannot be timed on this device.
pub fn measure(
    executor: &mut dyn Executor,
    clock: &Arc<dyn Clock>,
    plan: &Arc<StepPlan>,
    steps: Steps,
    counters: Option<&mut Counters>,
    (label, progress): (&str, &dyn Progress),
) -> Result<Measured, ExecError> {
    let mut runner = Runner {
        executor,
        clock,
        plan,
        output: StepOutput::default(),
    };
    let seen = runner.step().and_then(|_| runner.step());
    // A step that was left in the middle failed for that.
    if progress.is_stopped() {
        return Ok(Measured::default());
    }
    let (start, end) = seen?;
    let count = steps.count.of(end - start);
    if count > ALWAYS {
        // One step tells what all of them will take.
        runner.executor.start_timelines(clock)?;
        runner.step()?;
        let timelines = runner.executor.take_timelines()?;
        let bytes = timelines.iter().flatten().map(bytes).sum();
        check(count, bytes, telemetry::memory().available)?;
    }
    let roofs = runner.executor.measure_roofs();
    if progress.is_stopped() {
        return Ok(Measured::default());
    }
    let traced = match steps.by_events {
        true => Err("events are what --timed-by asks for".to_owned()),
        false => runner.traced(count, label, progress)?,
    };
    let measured = match traced {
        Ok(measured) => measured,
        Err(reason) => {
            runner.executor.start_timelines(clock)?;
            let (steps, counts) = runner.run(count, counters, label, progress)?;
            Measured {
                timelines: of(&steps, runner.executor.take_timelines()?),
                steps,
                untraced: Some(reason),
                counts,
                ..Measured::default()
            }
        }
    };
    Ok(Measured { roofs, ..measured })
}

/// One step, over and over.
struct Runner<'a> {
    executor: &'a mut dyn Executor,
    clock: &'a Arc<dyn Clock>,
    plan: &'a Arc<StepPlan>,
    output: StepOutput,
}

/// From submission to the end of the wait.
type Span = (Duration, Duration);

impl Runner<'_> {
    fn step(&mut self) -> Result<Span, ExecError> {
        let start = self.clock.now();
        let ticket = self.executor.submit(self.plan.clone())?;
        self.executor.wait(ticket, &mut self.output)?;
        Ok((start, self.clock.now()))
    }

    /// `count` steps, or those until `progress` says stop, and what was counted meanwhile.
    fn run(
        &mut self,
        count: usize,
        mut counters: Option<&mut Counters>,
        label: &str,
        progress: &dyn Progress,
    ) -> Result<(Vec<Span>, Counts), ExecError> {
        progress.start(Task::Steps(label.to_owned()), count as u64);
        let mut steps = Vec::new();
        if let Some(counters) = &mut counters {
            counters.start();
        }
        let mut failed = None;
        while steps.len() < count && !progress.is_stopped() && failed.is_none() {
            match self.step() {
                Ok(times) => steps.push(times),
                Err(_) if progress.is_stopped() => {}
                Err(error) => failed = Some(error),
            }
            progress.advance(1);
        }
        let counts = counters.map_or(Counts::default(), Counters::stop);
        progress.finish();
        failed.map_or(Ok((steps, counts)), Err)
    }

    /// Timed by the device's own records of kernels; or why not, as a sentence.
    fn traced(
        &mut self,
        count: usize,
        label: &str,
        progress: &dyn Progress,
    ) -> Result<Result<Measured, String>, ExecError> {
        if let Err(reason) = self.executor.start_activity(self.clock)? {
            return Ok(Err(reason));
        }
        // In which graphs are captured.
        match self.step() {
            Err(error) if !progress.is_stopped() => return Err(error),
            _ => {}
        }
        let (steps, counts) = self.run(count, None, label, progress)?;
        // A device that has failed fails again.
        Ok(match self.executor.take_timelines() {
            Ok(timelines) => Ok(Measured {
                timelines: of(&steps, timelines),
                steps,
                counts,
                ..Measured::default()
            }),
            Err(error) => Err(told(&error)),
        })
    }
}

/// With what it is because of.
fn told(error: &dyn Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => told(source),
    }
}

/// Those of `steps`: without the operations of a step before them, or of one behind them that was left in the middle.
fn of(steps: &[Span], mut timelines: Vec<Vec<OpRecord>>) -> Vec<Vec<OpRecord>> {
    let start = steps.first().map_or(Duration::ZERO, |(start, _)| *start);
    let end = steps.last().map_or(Duration::ZERO, |(_, end)| *end);
    for timeline in &mut timelines {
        timeline.truncate(timeline.partition_point(|op| op.queued < end));
        timeline.drain(..timeline.partition_point(|op| op.queued < start));
    }
    timelines
}

fn bytes(record: &OpRecord) -> u64 {
    // A device's own records of them are as large, and stand beside them at the end.
    let launches = 2 * record.launches.as_deref().map_or(0, size_of_val);
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
