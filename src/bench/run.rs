//! Loads played on a session: each recorded, watched and measured, and all of them as one result.

use std::ops::Range;
use std::time::Duration;

use super::options::LoadOptions;
use super::plan::{BenchPlan, RunPlan};
use super::play::{Recording, play_traced};
use super::tracer::Tracer;
use crate::ground::results::{Environment, Kind, ReferenceRun, Results, Run, SCHEMA};
use crate::ground::{
    ExpertLoad, Log, Recorded, RequestRecord, StepRecord, Task, TelemetrySample, VERSION, revision,
};
use crate::metrics::{self, MeasureInput, StepTotals};
use crate::session::{self, RunError, Session, SessionError, gpus};
use crate::telemetry::{self, Sampler};

/// Before each run; a few samples.
const IDLE: Duration = Duration::from_millis(500);

/// What one run recorded, as its raw files hold it.
#[derive(Debug, Default)]
pub struct RawRun {
    /// One a request, in the order of arrival.
    pub requests: Log<RequestRecord>,
    /// One a scheduler step.
    pub steps: Log<StepRecord>,
    /// CPU, memory and GPUs, ten times a second.
    pub telemetry: Vec<TelemetrySample>,
    /// Of each sparse layer.
    pub experts: Vec<ExpertLoad>,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Played {
    /// One a run, in the order played; fewer than planned where one was cut short.
    pub runs: Vec<Run>,
    /// Of each run.
    pub raw: Vec<RawRun>,
    /// Why the last run ended early, if it did.
    pub cut_short: Option<String>,
}

impl Session {
    /// Plays a load and measures it.
    ///
    /// ```
    /// use candlepower::{EngineOptions, LoadOptions};
    ///
    /// let mut session = EngineOptions::new("tests/fixtures/llama-tiny").device("cpu").open()?;
    /// let load = LoadOptions::default().concurrency([2]).requests([4]).input_len(8).output_len(4);
    /// let results = session.play(&load)?;
    /// assert_eq!(results.runs[0].metrics.successful_requests, Some(4));
    /// # Ok::<(), candlepower::Error>(())
    /// ```
    ///
    /// # Errors
    /// The load is wrong, or does not fit the session's context. A run that fails half-way is no error: its
    /// results say `partial`.
    pub fn play(&mut self, load: &LoadOptions) -> Result<Results, SessionError> {
        let plan = BenchPlan::new(load, &self.files, self.progress.as_ref())?;
        let time = telemetry::utc_now();
        let played = play_all(self, &plan, None)?;
        Ok(results(self, &played, time, Vec::new()))
    }
}

/// Every run of `plan`, until one is cut short; the first is seen by `tracer`.
///
/// # Errors
/// The machine cannot be watched.
pub fn play_all(
    session: &mut Session,
    plan: &BenchPlan,
    mut tracer: Option<&mut Tracer>,
) -> Result<Played, SessionError> {
    let mut played = Played::default();
    for run in &plan.runs {
        let tracer = tracer.as_deref_mut().filter(|_| played.runs.is_empty());
        let (measured, recorded, reason) = play_run(session, run, tracer)?;
        played.runs.push(measured);
        played.raw.push(recorded);
        played.cut_short = reason;
        if played.cut_short.is_some() {
            break;
        }
    }
    Ok(played)
}

/// One run: what was measured, its raw records, and why it ended early if it did.
fn play_run(
    session: &mut Session,
    run: &RunPlan,
    tracer: Option<&mut Tracer>,
) -> Result<(Run, RawRun, Option<String>), SessionError> {
    let timestamp = telemetry::utc_now();
    let progress = session.progress.clone();
    let task = Task::Requests(run.scenario.name.clone());
    if let Some(live) = progress.live() {
        live.begin();
    }
    // As many as come, where nobody has counted them.
    let requests = run.scenario.requests.unwrap_or(0);
    progress.start(task, requests as u64);
    let sampler = sampler(session)?;
    let clock = session.engine.clock().clone();
    let others = session.engine.executor_mut().start_watching(&clock);
    others.map_err(RunError::from)?;
    let idle = idle(session);
    let (engine, script) = (&mut session.engine, &run.script);
    let live = progress.live();
    let recording = play_traced(engine, script, progress.stop(), tracer, live, &mut || {
        progress.advance(1);
    });
    let seen = sampler.map_or_else(Recorded::default, Sampler::stop);
    let mut seen = gathered(session, seen)?;
    telemetry::note_idle_power(&mut seen, idle);
    progress.finish();
    let Recording {
        requests,
        steps,
        experts,
        origin,
        clocks,
        cut_short,
    } = recording;
    // After the first run: the roofs belong to this process, and delay nobody's first token.
    if cut_short.is_none() && session.hardware.roofs.is_none() {
        session.hardware.roofs = session.engine.measure_roofs();
    }
    let raw = RawRun {
        requests,
        steps,
        telemetry: telemetry::sampler::since(seen.samples, origin),
        experts,
    };
    let devices: Vec<usize> = match session.kind {
        Kind::Predicted => (0..session.hardware.count).collect(),
        _ => seen.gpus.iter().map(|watched| watched.gpu.index).collect(),
    };
    let mut measured = metrics::measure(&MeasureInput {
        requests: &raw.requests,
        steps: &raw.steps,
        telemetry: &raw.telemetry,
        experts: &raw.experts,
        scenario: run.scenario.clone(),
        model: &session.model.name,
        prompt: &run.prompt,
        timestamp: &timestamp,
        capacity: metrics::capacity(&session.settings, &run.scenario, &raw.requests),
        gpus: &devices,
        watched: &seen.gpus,
        roofs: session.hardware.roofs,
        clocks,
    });
    measured.cut_short.clone_from(&cut_short);
    if session.kind == Kind::Predicted {
        metrics::mark_predicted(&mut measured, session.settings.server.is_some());
    }
    Ok((measured, raw, cut_short))
}

/// A while in which watched GPUs do nothing, on the engine's clock: what they draw then is none of the load's.
fn idle(session: &Session) -> Range<Duration> {
    let clock = session.engine.clock();
    let start = clock.now();
    if session.probe.is_some() && session.kind != Kind::Predicted {
        clock.sleep_until(start.saturating_add(IDLE));
    }
    start..clock.now()
}

/// With what other processes saw.
fn gathered(session: &mut Session, mut own: Recorded) -> Result<Recorded, RunError> {
    let others = session.engine.executor_mut().take_watched()?;
    let host = session.processes.first().map(|process| &process.host);
    own.gpus.iter_mut().for_each(|gpu| gpu.host = host.cloned());
    Ok(telemetry::gathered(own, others))
}

/// A machine that only works out a prediction has nothing to tell.
fn sampler(session: &Session) -> Result<Option<Sampler>, RunError> {
    if session.kind == Kind::Predicted {
        return Ok(None);
    }
    let clock = session.engine.clock().clone();
    let progress = session.progress.clone();
    let tell = move |sample: &TelemetrySample| {
        if let Some(live) = progress.live() {
            live.see(&sample.gpus);
        }
    };
    let interval = telemetry::sampler::INTERVAL;
    let sampler = Sampler::start(clock, interval, session.probe.clone(), tell);
    sampler.map(Some).map_err(RunError::Telemetry)
}

/// What was played on `session`, begun at `time`, beside other people's runs.
pub fn results(
    session: &Session,
    played: &Played,
    time: String,
    references: Vec<ReferenceRun>,
) -> Results {
    let steps = StepTotals::of(played.raw.iter().flat_map(|run| &run.steps));
    let mut engine = session.settings.clone();
    engine.communication_share = steps.communication_share();
    Results {
        schema: SCHEMA.to_owned(),
        kind: session.kind,
        partial: played.cut_short.is_some(),
        environment: environment(session, time),
        model: session.model.clone(),
        hardware: session.hardware.clone(),
        engine,
        start_up: session.start_up.clone(),
        repeats: metrics::summarize(&played.runs),
        runs: played.runs.clone(),
        references,
    }
}

/// The machine and the program, of a run that began at `time`.
pub fn environment(session: &Session, time: String) -> Environment {
    let machine = telemetry::machine();
    let mut environment = Environment {
        candlepower: VERSION.to_owned(),
        git: revision().map(str::to_owned),
        features: session::features().map(str::to_owned).collect(),
        os: machine.os.clone(),
        cpu: machine.cpu.clone(),
        cores: machine.cores,
        ram_gib: machine.ram_gib,
        all_reduce: session.all_reduce.clone(),
        processes: session.processes.clone(),
        time,
        ..Environment::default()
    };
    gpus::describe(&mut environment);
    environment
}
