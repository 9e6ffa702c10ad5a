//! What only the engine can see: batch sizes, KV occupancy, its own overhead, the steady window.

use std::borrow::Borrow;

use super::quantile::ratio;
use super::stalls::Stalls;
use super::timing::Window;
use super::{MeasureInput, reason};
use crate::ground::StepRecord;

/// Share of the target above which the engine counts as fully loaded.
const STEADY_SHARE: f64 = 0.95;

/// Sums over the steps of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepTotals {
    pub steps: usize,
    /// Time inside steps, seconds.
    pub seconds: f64,
    /// Part of it inside the executor.
    pub exec_seconds: f64,
    /// Sum and maximum of the requests that got tokens.
    pub scheduled: usize,
    pub max_scheduled: usize,
    /// Prompt and decode tokens.
    pub tokens: usize,
    /// Share of KV blocks in use, each step times its length.
    kv_seconds: f64,
    /// Time of steps that report a KV cache.
    kv_weight: f64,
    max_kv: Option<f64>,
    pub bytes: f64,
    pub flops: f64,
    pub communication_bytes: f64,
    /// Of steps whose time is divided.
    pub timed_steps: usize,
    pub compute_seconds: f64,
    pub communication_seconds: f64,
    /// Of those whose waits are known: the whole, and the waits.
    waited_in: f64,
    pub wait_seconds: f64,
}

impl StepTotals {
    pub fn of(steps: impl IntoIterator<Item: Borrow<StepRecord>>) -> Self {
        let mut totals = Self::default();
        for step in steps {
            totals.add(step.borrow());
        }
        totals
    }

    fn add(&mut self, step: &StepRecord) {
        let seconds = step.end - step.start;
        self.steps += 1;
        self.seconds += seconds;
        self.exec_seconds += step.exec_seconds;
        self.scheduled += step.scheduled;
        self.max_scheduled = self.max_scheduled.max(step.scheduled);
        self.tokens += step.prefill_tokens + step.decode_tokens;
        self.bytes += step.bytes as f64;
        self.flops += step.flops as f64;
        self.communication_bytes += step.communication_bytes as f64;
        if let Some((compute, communication)) = step.compute_seconds.zip(step.communication_seconds)
        {
            self.timed_steps += 1;
            self.compute_seconds += compute;
            self.communication_seconds += communication;
            if let Some(wait) = step.wait_seconds {
                self.waited_in += compute + communication;
                self.wait_seconds += wait;
            }
        }
        if let Some(used) = ratio(step.kv_blocks_used as f64, step.kv_blocks_total as f64) {
            self.kv_seconds += used * seconds;
            self.kv_weight += seconds;
            self.max_kv = Some(self.max_kv.map_or(used, |max| max.max(used)));
        }
    }

    /// Mean over the steps.
    pub fn per_step(&self, sum: f64) -> Option<f64> {
        ratio(sum, self.steps as f64)
    }

    /// Mean share of KV blocks in use, weighted by time, 0 to 1.
    pub fn mean_kv(&self) -> Option<f64> {
        ratio(self.kv_seconds, self.kv_weight)
    }

    pub fn max_kv(&self) -> Option<f64> {
        self.max_kv
    }

    /// Part of the ranks' time in exchanges between them, 0 to 1; `None` where none was made, or none was timed.
    pub fn communication_share(&self) -> Option<f64> {
        let timed = self.compute_seconds + self.communication_seconds;
        let exchanged = self.communication_seconds > 0.0;
        exchanged.then(|| ratio(self.communication_seconds, timed))?
    }

    /// Part of it before the slowest rank had come; `None` where that was not timed.
    pub fn wait_share(&self) -> Option<f64> {
        let exchanged = self.communication_seconds > 0.0;
        exchanged.then(|| ratio(self.wait_seconds, self.waited_in))?
    }

    /// Time of the steps outside the executor, seconds.
    pub fn host_seconds(&self) -> f64 {
        self.seconds - self.exec_seconds
    }
}

/// What the steps of a run come to, in one pass.
pub(crate) struct Steps {
    pub totals: StepTotals,
    /// Or why there is none, as a sentence.
    pub steady: Result<Window, String>,
    /// Requests that the engine held, times the time for which it did. A pause between two steps counts for
    /// the requests of the second, but for what of it the engine held none.
    pub counted: f64,
    /// Of the longest, seconds.
    pub longest: f64,
    pub stalls: Stalls,
}

impl Steps {
    pub fn of(input: &MeasureInput) -> Self {
        let mut steady = SteadyWindow::default();
        let target = input.scenario.concurrency.map(|concurrency| {
            let target = concurrency.min(input.capacity);
            target.min(input.requests.len())
        });
        let mut steps = Self {
            totals: StepTotals::default(),
            steady: Err("an open loop has no target of running requests".to_owned()),
            counted: 0.0,
            longest: 0.0,
            stalls: Stalls::default(),
        };
        let mut before: Option<f64> = None;
        for step in input.steps {
            let held = (step.running + step.waiting) as f64;
            let since = before.map_or(step.start, |end| end + step.idle_seconds);
            steps.counted += held * (step.end - since);
            steps.longest = steps.longest.max(step.end - step.start);
            steps.totals.add(&step);
            steps.stalls.add(&step, step.start - since);
            steady.add(&step, target.unwrap_or(0));
            before = Some(step.end);
        }
        if let Some(target) = target {
            steps.steady = match input.steps.is_empty() {
                true => Err(reason::NO_STEP.to_owned()),
                false => steady.window(target),
            };
        }
        steps
    }
}

/// From the start of the first to the end of the last step in which `STEADY_SHARE` of the target of
/// requests ran. Dips between them belong to it: a closed loop refills its batch by prefills, and
/// cutting those out would flatter the engine.
#[derive(Default)]
struct SteadyWindow {
    start: Option<f64>,
    end: f64,
}

impl SteadyWindow {
    fn add(&mut self, step: &StepRecord, target: usize) {
        if step.running as f64 >= STEADY_SHARE * target as f64 {
            self.start.get_or_insert(step.start);
            self.end = step.end;
        }
    }

    fn window(&self, target: usize) -> Result<Window, String> {
        match self.start {
            Some(start) if self.end > start && target > 0 => Ok(Window {
                start,
                end: self.end,
            }),
            _ => Err(format!(
                "the running requests never reached 95 % of the target of {target}"
            )),
        }
    }
}
