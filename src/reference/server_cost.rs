//! Every reference run on a simulated card, played with and without a server: what the server cost them.

use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use super::{ReferenceError, on_card, short_name};
use crate::bench::{self, Limits, Load, Script};
use crate::exec::Server;
use crate::ground::results::{ReferenceRun, Scenario, ThroughputDefinition};
use crate::ground::{Progress, RequestRecord, Sampling, Task};
use crate::hardware::Gpu;
use crate::hub::cards;
use crate::model::ModelSpec;
use crate::session::{EngineOptions, ModelFiles, Simulation};
use crate::text::TokenPool;
use crate::workload::Work;

/// The profile that the references' server has.
pub const SERVER: Server = Server::VLLM;
/// Of each row.
const PREDICTIONS: u64 = 2;

/// One reference run, and what the simulated device says of its load.
#[derive(Debug, Clone, PartialEq)]
pub struct CostRow {
    pub machine: String,
    pub model: String,
    pub load: String,
    /// Input tokens are counted beside the output's.
    pub counts_input: bool,
    /// Tokens a second, or why there is no such figure: here and in the two below.
    pub raw: Result<f64, String>,
    pub served: Result<f64, String>,
    pub measured: Result<f64, String>,
    /// In the raw prediction: each computes a request's tokens again.
    pub preemptions: u64,
}

/// One row a reference run on `gpu` that matches the model and the loads; none where no run is of this card.
///
/// # Errors
/// The library of runs cannot be read.
pub fn server_cost(
    files: &ModelFiles,
    gpu: &Gpu,
    scenarios: &[Scenario],
    progress: &dyn Progress,
) -> Result<Vec<CostRow>, ReferenceError> {
    let options = &files.options;
    let runs = on_card(&gpu.name, &files.label(), options.tp, scenarios)?;
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let task = Task::Requests("reference runs".to_owned());
    progress.start(task, runs.len() as u64 * PREDICTIONS);
    let predict = |simulation: &Simulation, run: &ReferenceRun| {
        let predicted = play(simulation, run, progress.stop());
        progress.advance(1);
        predicted
    };
    let rows = runs
        .par_iter()
        .map(|run| row(options, gpu, run, &predict))
        .collect();
    progress.finish();
    Ok(rows)
}

/// What one play came to.
#[derive(Debug, Clone, Copy)]
struct Played {
    tokens_per_s: f64,
    preemptions: u64,
}

type Predict<'a> = dyn Fn(&Simulation, &ReferenceRun) -> Result<Played, String> + Sync + 'a;

fn row(options: &EngineOptions, gpu: &Gpu, run: &ReferenceRun, predict: &Predict) -> CostRow {
    let predicted = |server| {
        let simulation = simulation(options, gpu, run, server)?;
        predict(&simulation, run)
    };
    let (raw, served) = rayon::join(|| predicted(None), || predicted(Some(SERVER)));
    let rate = |played: Played| played.tokens_per_s;
    CostRow {
        machine: run.hardware.name.clone(),
        model: short_name(&run.model).to_owned(),
        load: match (run.concurrency, run.requests) {
            (Some(concurrency), Some(requests)) => format!("{concurrency} of {requests}"),
            (Some(concurrency), None) => concurrency.to_string(),
            // It failed before any was played.
            (None, _) => "start".to_owned(),
        },
        counts_input: counts_input(run),
        preemptions: raw.as_ref().map_or(0, |played| played.preemptions),
        raw: raw.map(rate),
        served: served.map(rate),
        measured: match (&run.failure, measured(run)) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(rate)) => Ok(rate),
            (None, None) => Err("no throughput was published".to_owned()),
        },
    }
}

/// The published total of input and output stands where the output's own rate was not published.
fn counts_input(run: &ReferenceRun) -> bool {
    let total = Some(ThroughputDefinition::InputAndOutput);
    run.metrics.output_tokens_per_sec.is_none() && run.throughput_definition == total
}

fn measured(run: &ReferenceRun) -> Option<f64> {
    match counts_input(run) {
        true => run.metrics.overall_total_throughput,
        false => run.metrics.output_tokens_per_sec,
    }
}

/// The run's model and cards under this command's limits. One that failed at the start is asked for the
/// whole context, as it was there.
fn simulation(
    options: &EngineOptions,
    gpu: &Gpu,
    run: &ReferenceRun,
    server: Option<Server>,
) -> Result<Simulation, String> {
    let name = short_name(&run.model);
    let card = cards::find(name).ok_or_else(|| format!("{name} has no card"))?;
    let spec = ModelSpec::from_json(card.config_json, name).map_err(|e| e.to_string())?;
    let longest = match lengths(run) {
        Some((input, output)) => input + output,
        None => spec.max_position_embeddings,
    };
    let mut simulation = options.simulation(gpu, name, &spec.shape(), longest);
    simulation.split.tp = run.hardware.gpus;
    simulation.server = server;
    Ok(simulation)
}

/// Tokens in and out of each request: as many as came.
fn lengths(run: &ReferenceRun) -> Option<(usize, usize)> {
    run.concurrency?;
    let came = run.tokens_per_request.map(|tokens| tokens.round() as usize);
    run.input_len.zip(came.or(run.output_len))
}

fn play(simulation: &Simulation, run: &ReferenceRun, stop: &AtomicBool) -> Result<Played, String> {
    let mut started = simulation.start().map_err(|e| e.to_string())?;
    let load = lengths(run).zip(run.concurrency).zip(run.requests);
    let Some((((input_len, output_len), concurrency), requests)) = load else {
        return Err("it starts".to_owned());
    };
    let pool = TokenPool::below(simulation.shape.vocab_size as u32).map_err(|e| e.to_string())?;
    let script = Script {
        work: Work::synthetic(input_len, output_len, pool),
        load: Load::Closed { concurrency },
        requests: requests as usize,
        warmup: 0,
        limits: Limits::default(),
        sampling: Sampling::GREEDY,
        end_tokens: Vec::new(),
        seed: 0,
    };
    let recording = bench::play(&mut started.engine, &script, stop, &mut || ());
    if let Some(reason) = recording.cut_short {
        return Err(reason);
    }
    let end = recording
        .requests
        .iter()
        .filter_map(|r| r.tokens.last().copied());
    let seconds = end.fold(0.0, f64::max);
    let counted = |r: &RequestRecord| match counts_input(run) {
        true => r.prompt_tokens + r.output_tokens,
        false => r.output_tokens,
    };
    let tokens: usize = recording.requests.iter().map(|r| counted(&r)).sum();
    let preemptions = recording.requests.iter().map(|r| u64::from(r.preemptions));
    Ok(Played {
        tokens_per_s: tokens as f64 / seconds,
        preemptions: preemptions.sum(),
    })
}
