//! Records of a run -> its metric set. Pure functions: the same records give the same numbers.

pub mod checks;
mod energy;
mod experts;
pub mod extended;
pub mod goodput;
mod gpus;
pub mod in_flight;
mod laws;
pub mod predicted;
mod prefixes;
pub mod quantile;
pub mod records;
pub mod repeats;
mod requests;
mod schedule;
pub mod source;
mod stalls;
pub mod steps;
pub mod timing;

use std::collections::BTreeMap;

use crate::ground::results::{Engine, Roofs, Run, Scenario};
use crate::ground::{
    ClockSpan, ExpertLoad, Log, RequestRecord, StepRecord, TelemetrySample, WatchedGpu,
};
use crate::scheduler::blocks_at_full_length;

pub use gpus::THROTTLE_REASONS;
pub use predicted::mark_predicted;
pub use records::Book;
pub use repeats::summarize;
use requests::Requests;
pub use steps::StepTotals;
use steps::Steps;

/// One play of a scenario, as recorded. All times share one origin.
#[derive(Debug, Clone)]
pub struct MeasureInput<'a> {
    /// Every request that was submitted, warm-up left out, in order of arrival.
    pub requests: &'a Log<RequestRecord>,
    /// Steps of the run, warm-up left out.
    pub steps: &'a Log<StepRecord>,
    pub telemetry: &'a [TelemetrySample],
    /// Of each sparse layer.
    pub experts: &'a [ExpertLoad],
    pub scenario: Scenario,
    pub model: &'a str,
    /// The prompt's text, or how prompts were made.
    pub prompt: &'a str,
    /// Start of the run, UTC, RFC 3339.
    pub timestamp: &'a str,
    /// Most requests that can run at once: the lesser of max_num_seqs and what the KV cache holds.
    pub capacity: usize,
    /// Indices of the GPUs that took part; empty on a CPU.
    pub gpus: &'a [usize],
    /// The GPUs that `telemetry` has samples of, in their order; empty where none was watched.
    pub watched: &'a [WatchedGpu],
    /// Of all devices together, measured in the same process.
    pub roofs: Option<Roofs>,
    /// From the run's start to its end; `None` in virtual time.
    pub clocks: Option<ClockSpan>,
}

/// The whole metric set of one run, each null with its reason.
pub fn measure(input: &MeasureInput) -> Run {
    let mut nulls = NotObserved::default();
    let steps = Steps::of(input);
    let requests = Requests::of(input, steps.steady.as_ref().ok().copied());
    let gpus = gpus::each(input, requests.window);
    let mut metrics = source::metrics(input, &requests, &mut nulls);
    gpus::means(&mut metrics, input, &gpus, &mut nulls);
    let mut extended = extended::extended(input, &requests, &steps, &mut nulls);
    energy::energy(&mut extended, &gpus, &mut nulls);
    energy::cost(&mut extended, &input.scenario, &mut nulls);
    Run {
        scenario: input.scenario.clone(),
        metrics,
        extended,
        gpus,
        not_observed: nulls.0,
        checks: checks::checks(input, &requests, steps),
        failures: requests.failures,
        cut_short: None,
    }
}

/// Most requests of a run that can run at once: the lesser of `max_num_seqs` and what the KV cache holds of the longest,
/// each as long as it was asked to be.
pub fn capacity(engine: &Engine, scenario: &Scenario, requests: &Log<RequestRecord>) -> usize {
    let each = requests.iter().map(|record| {
        let output = scenario.output_len.unwrap_or(record.output_tokens);
        record.prompt_tokens + output
    });
    let asked = scenario.input_len.zip(scenario.output_len);
    let asked = asked.map(|(input, output)| input + output);
    let longest = asked.or_else(|| each.max()).unwrap_or(0);
    let blocks = blocks_at_full_length(longest, 0, engine.block_size.max(1)).max(1);
    engine.max_num_seqs.min(engine.num_kv_blocks / blocks)
}

/// Why each null is null, collected where the null arises.
#[derive(Debug, Default)]
pub(crate) struct NotObserved(BTreeMap<String, String>);

impl NotObserved {
    /// Passes `value` on, and keeps the reason if there is none.
    pub(crate) fn note<T>(&mut self, name: &str, value: Option<T>, reason: &str) -> Option<T> {
        if value.is_none() {
            self.0.insert(name.to_owned(), reason.to_owned());
        }
        value
    }
}

/// Reasons that several metrics share.
pub(crate) mod reason {
    use super::timing::Window;

    pub const NO_END: &str = "no request completed or failed";
    pub const NO_SUCCESS: &str = "no request succeeded";
    pub const NO_SECOND_TOKEN: &str = "no successful request has two output tokens";
    pub const NO_TOKEN: &str = "no token was generated, so the run has no end";
    pub const NO_TIME: &str = "no time passed between arrival and last token";
    pub const NO_GPU: &str = "no GPU took part";
    pub const NO_GPU_TELEMETRY: &str = "GPU telemetry was not sampled in this run";
    pub const NO_SAMPLE: &str = "no telemetry sample fell between first arrival and last token";
    pub const NO_STAMP: &str = "no successful request has the time stamps";
    pub const NO_TELEMETRY: &str = "telemetry was not sampled in this run";
    pub const NO_STEP: &str = "no step was recorded";
    pub const NO_STEP_TIME: &str = "no time passed inside the steps";
    pub const EXCHANGE_NOT_TIMED: &str = "ranks exchanged on their devices, and no step was timed there: one in eight is, of those that draw on the device";
    pub const WAIT_NOT_TIMED: &str = "nothing times the waits of simulated ranks, or of processes on CPUs; `profile` tells of them";
    pub const NO_EXCHANGE: &str = "one rank exchanges nothing";
    pub const NO_PREFIX_CACHE: &str = "the prefix cache was off (--prefix-cache)";
    pub const NO_KV: &str = "the device reports no KV cache";
    pub const NO_EXPERTS: &str =
        "no token was routed to experts: a dense model, or a simulated device";
    pub const NOT_COUNTED: &str = "the device did not count the work of its steps";
    pub const NO_ROOF: &str = "the machine's roof was not measured in this run";
    pub const NO_ENERGY: &str = "no energy counter was read in this run";
    pub const NO_IDLE: &str = "no GPU was watched before the load";
    pub const NO_PRICE: &str = "no price was given (--price-per-hour)";
    pub const NO_ENERGY_RISE: &str =
        "energy counter and power were read less than twice between first arrival and last token";
    pub const NOT_SUBMITTED: &str = "no request was handed to the engine";

    /// Why an amount over the window has no rate.
    pub fn no_rate(window: Option<Window>) -> &'static str {
        window.map_or(NO_TOKEN, |_| NO_TIME)
    }
}
