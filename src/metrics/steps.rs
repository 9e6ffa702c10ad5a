//! What only the engine can see: batch sizes, KV occupancy, its own overhead, the steady window.

use super::quantile::ratio;
use super::timing::Window;
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
    pub communication_seconds: f64,
}

impl StepTotals {
    pub fn of<'a>(steps: impl IntoIterator<Item = &'a StepRecord>) -> Self {
        let mut totals = Self::default();
        for step in steps {
            let seconds = step.end - step.start;
            totals.steps += 1;
            totals.seconds += seconds;
            totals.exec_seconds += step.exec_seconds;
            totals.scheduled += step.scheduled;
            totals.max_scheduled = totals.max_scheduled.max(step.scheduled);
            totals.tokens += step.prefill_tokens + step.decode_tokens;
            totals.bytes += step.bytes as f64;
            totals.flops += step.flops as f64;
            totals.communication_bytes += step.communication_bytes as f64;
            totals.communication_seconds += step.communication_seconds;
            if let Some(used) = ratio(step.kv_blocks_used as f64, step.kv_blocks_total as f64) {
                totals.kv_seconds += used * seconds;
                totals.kv_weight += seconds;
                totals.max_kv = Some(totals.max_kv.map_or(used, |max| max.max(used)));
            }
        }
        totals
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

    /// Part of the executor's time in exchanges between ranks, 0 to 1; `None` where none was made.
    pub fn communication_share(&self) -> Option<f64> {
        let made = self.communication_bytes > 0.0;
        made.then(|| ratio(self.communication_seconds, self.exec_seconds))?
    }

    /// Time of the steps outside the executor, seconds.
    pub fn host_seconds(&self) -> f64 {
        self.seconds - self.exec_seconds
    }
}

/// From the start of the first to the end of the last step in which `STEADY_SHARE` of `target`
/// requests ran. Dips between them belong to it: a closed loop refills its batch by prefills, and
/// cutting those out would flatter the engine.
///
/// # Errors
/// Why there is no such window, as a sentence.
pub fn steady_window(steps: &[StepRecord], target: usize) -> Result<Window, String> {
    let full = |step: &&StepRecord| step.running as f64 >= STEADY_SHARE * target as f64;
    let first = steps.iter().find(full);
    let last = steps.iter().rfind(full);
    match (first, last) {
        (Some(first), Some(last)) if last.end > first.start && target > 0 => Ok(Window {
            start: first.start,
            end: last.end,
        }),
        _ => Err(format!(
            "the running requests never reached 95 % of the target of {target}"
        )),
    }
}
