//! One load played on a session, and held against the objective.

use super::objective::Bound;
use super::options::Search;
use super::plan::CapacityPlan;
use super::result::Trial;
use crate::bench::{self, BenchPlan, LoadOptions};
use crate::ground::results::{Engine, Run};
use crate::ground::{Log, RequestRecord, StepRecord};
use crate::session::{RunError, Session, SessionError};

/// Fewer requests tell nothing of a queue.
const FEWEST_FOR_GROWTH: usize = 8;

/// Limits of the engine that a run came up against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touched {
    pub kv_blocks: bool,
    pub max_num_seqs: bool,
    pub max_num_batched_tokens: bool,
}

/// A load that was played to its end.
#[derive(Debug)]
pub struct Play {
    pub run: Run,
    pub trial: Trial,
    pub touched: Touched,
}

/// `number`: of this load's plays, from 0; each has arrivals and prompts of its own. `None`: it was cut short.
///
/// # Errors
/// The load cannot be, or the engine failed.
pub fn play(
    session: &mut Session,
    plan: &CapacityPlan,
    value: f64,
    number: usize,
) -> Result<Option<Play>, SessionError> {
    let options = &plan.options;
    let requests = plan.requests(value);
    let load = LoadOptions {
        concurrency: match options.search {
            Search::Concurrency => vec![value as usize],
            Search::Rate => Vec::new(),
        },
        request_rate: match options.search {
            Search::Concurrency => Vec::new(),
            Search::Rate => vec![value.into()],
        },
        requests: vec![requests],
        ..options.content()
    };
    play_load(session, plan, &load, value, number)
}

/// One request at a time, for the seconds that one takes.
pub fn play_alone(session: &mut Session, plan: &CapacityPlan) -> Result<Option<f64>, SessionError> {
    const REQUESTS: usize = 3;
    let load = LoadOptions {
        concurrency: vec![1],
        requests: vec![REQUESTS],
        ..plan.options.content()
    };
    let played = play_load(session, plan, &load, 1.0, 0)?;
    Ok(played.and_then(|play| play.run.metrics.avg_latency))
}

fn play_load(
    session: &mut Session,
    plan: &CapacityPlan,
    load: &LoadOptions,
    value: f64,
    number: usize,
) -> Result<Option<Play>, SessionError> {
    let mut bench = BenchPlan::of(load, &plan.content, &session.files)?;
    for run in &mut bench.runs {
        run.script.seed = run.script.seed.wrapping_add(number as u64);
    }
    let mut played = bench::play_all(session, &bench, None)?;
    let (Some(run), Some(raw)) = (played.runs.pop(), played.raw.pop()) else {
        return Ok(None);
    };
    if let Some(reason) = played.cut_short {
        return match session.progress.is_stopped() {
            true => Ok(None),
            false => Err(RunError::Failed(reason).into()),
        };
    }
    let growth = match load.request_rate.is_empty() {
        true => None,
        false => growth(&raw.requests),
    };
    let touched = touched(&raw.steps, &session.settings, &run);
    let bounds = plan.options.objective.bounds(&run, growth);
    let trial = trial(plan, value, &run, bounds);
    Ok(Some(Play {
        run,
        trial,
        touched,
    }))
}

fn trial(plan: &CapacityPlan, value: f64, run: &Run, bounds: Vec<Bound>) -> Trial {
    let figures = &run.extended;
    let entries = figures.entries();
    let at = |name: &str| {
        let key = format!("p{}_{name}_ms", plan.options.objective.percentile);
        entries.get(&key).and_then(serde_json::Value::as_f64)
    };
    Trial {
        value,
        passed: bounds.iter().all(|bound| bound.ok),
        requests: run.extended.completed as usize + run.extended.failed as usize,
        duration: figures.duration,
        ttft_ms: at("ttft"),
        tpot_ms: at("tpot"),
        output_throughput: figures.output_throughput,
        request_throughput: figures.request_throughput,
        max_kv_occupancy_percent: figures.max_kv_occupancy_percent,
        preemptions: figures.preemptions,
        bounds,
    }
}

/// Seconds by which the wait of a request grows in a second, over the second half of the arrivals.
fn growth(requests: &Log<RequestRecord>) -> Option<f64> {
    let half = requests.len() / 2;
    let waits = requests.iter().skip(half);
    let waits: Vec<(f64, f64)> = waits
        .filter_map(|request| Some((request.arrival, request.admitted? - request.arrival)))
        .collect();
    if waits.len() < FEWEST_FOR_GROWTH {
        return None;
    }
    let count = waits.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| waits.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|wait| wait.0), mean(|wait| wait.1));
    let spread: f64 = waits.iter().map(|wait| (wait.0 - x).powi(2)).sum();
    let shared: f64 = waits.iter().map(|wait| (wait.0 - x) * (wait.1 - y)).sum();
    // A wait that shrinks is one that does not grow.
    (spread > 0.0).then(|| (shared / spread).max(0.0))
}

/// A limit that no step came up against binds nothing.
fn touched(steps: &Log<StepRecord>, engine: &Engine, run: &Run) -> Touched {
    let mut touched = Touched {
        // A request that can never fit has no step.
        kv_blocks: run.extended.failed > 0,
        ..Touched::default()
    };
    for step in steps {
        let is_full = step.running >= engine.max_num_seqs;
        let is_spent = step.prefill_tokens + step.decode_tokens >= engine.max_num_batched_tokens;
        touched.max_num_seqs |= is_full && step.waiting > 0;
        touched.max_num_batched_tokens |= is_spent;
        let lacks_blocks = step.waiting > 0 && !is_full && !is_spent;
        touched.kv_blocks |= step.preempted > 0 || lacks_blocks;
    }
    touched
}
