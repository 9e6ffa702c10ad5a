//! Some steps of a run with their operations timed, for a trace.

use std::ops::Range;
use std::time::Duration;

use crate::engine::{Engine, EngineError};
use crate::exec::ExecError;
use crate::ground::{Event, StepRecord};
use crate::profile::{Trace, TraceStep};

/// Times the operations of the steps in a window, counted from the start of the run. The others pay nothing.
#[derive(Debug)]
pub struct Tracer {
    window: Range<usize>,
    is_on: bool,
    trace: Trace,
}

impl Tracer {
    /// `title`: words for the model and the machine; `ranks`: for each rank.
    pub fn new(window: Range<usize>, title: String, ranks: Vec<String>) -> Self {
        Self {
            window,
            is_on: false,
            trace: Trace {
                title,
                ranks,
                ..Trace::default()
            },
        }
    }

    /// Step `index` of the run, which is the next one of `engine`.
    ///
    /// # Errors
    /// The step's own, or operations cannot be timed on this device.
    pub fn step(
        &mut self,
        index: usize,
        engine: &mut Engine,
        events: &mut Vec<Event>,
    ) -> Result<StepRecord, EngineError> {
        if index == self.window.start {
            let clock = engine.clock().clone();
            engine.executor_mut().start_timelines(&clock)?;
            self.is_on = true;
        }
        let step = engine.step(events)?;
        if self.is_on {
            self.trace.steps.push(traced(index, &step));
        }
        if index + 1 == self.window.end {
            self.stop(engine)?;
        }
        Ok(step)
    }

    /// What was seen, of a run that may have ended before its window.
    ///
    /// # Errors
    /// A rank has ended.
    pub fn finish(mut self, engine: &mut Engine) -> Result<Trace, ExecError> {
        self.stop(engine)?;
        Ok(self.trace)
    }

    fn stop(&mut self, engine: &mut Engine) -> Result<(), ExecError> {
        if std::mem::take(&mut self.is_on) {
            self.trace.timelines = engine.executor_mut().take_timelines()?;
        }
        Ok(())
    }
}

fn traced(index: usize, step: &StepRecord) -> TraceStep {
    TraceStep {
        name: format!("step {index}"),
        start: Duration::from_secs_f64(step.start),
        end: Duration::from_secs_f64(step.end),
        batch: step.scheduled,
        rows: step.prefill_tokens + step.decode_tokens,
        kv_blocks: step.kv_blocks_used,
    }
}
