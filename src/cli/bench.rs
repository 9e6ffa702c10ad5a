//! `bench`: plays each load and reports the metric set.

use std::sync::atomic::AtomicBool;

use anyhow::{anyhow, bail};

use super::bench_args::{BenchArgs, Format};
use super::bench_plan::{BenchPlan, RunPlan};
use super::cuda;
use super::device::Device;
use super::doctor::revision;
use super::failure::Failure;
use super::job::{self, Job};
use super::model_files::ModelFiles;
use super::session::Session;
use super::written::Written;
use super::{interrupt, output, progress, server_cost, simulated};
use crate::bench::{self, Recording, Tracer};
use crate::ground::results::{Environment, Kind, Results, Run, SCHEMA, Scenario};
use crate::metrics::{self, MeasureInput, StepTotals};
use crate::reference;
use crate::report::{self, RawRun};
use crate::telemetry::{self, Recorded, Sampler};

/// Columns of a table that is not on a terminal.
const PIPE_WIDTH: usize = 100;
/// File of the page that only simulated cards have.
const SERVER_PAGE: &str = "server.md";

pub fn run(args: &BenchArgs, job: Option<&Job>) -> Result<(), Failure> {
    let files = ModelFiles::find(&args.common)?;
    check_flags(args, &files.device).map_err(Failure::Usage)?;
    let plan = BenchPlan::new(args, &files)?;
    let scenarios: Vec<_> = plan.runs.iter().map(|run| run.scenario.clone()).collect();
    let references = reference::select(args.reference.as_deref(), &files.label(), &scenarios)
        .map_err(Failure::usage)?;
    if let Some(dir) = &args.out {
        report::prepare(dir, false).map_err(Failure::usage)?;
    }
    let trace = Written::open("--trace", args.trace.as_deref())?;
    let stop = interrupt::flag(args.common.output.quiet);
    let time = telemetry::utc_now();
    let mut session = session(args, &files, plan.max_model_len, job)?;
    let mut runs = Vec::new();
    let mut raw = Vec::new();
    let mut cut_short = None;
    let mut tracer = trace.as_ref().map(|_| tracer(args, &session));
    for run in &plan.runs {
        let tracing = tracer.as_mut().filter(|_| runs.is_empty());
        let (measured, recorded, reason) = play(args, &mut session, run, tracing, &stop)?;
        runs.push(measured);
        raw.push(recorded);
        cut_short = reason;
        if cut_short.is_some() {
            break;
        }
    }
    if let (Some(file), Some(tracer)) = (trace, tracer) {
        let trace = tracer.finish(&mut session.engine).map_err(Failure::run)?;
        file.fill(|out| trace.write(out))?;
    }
    let steps = StepTotals::of(raw.iter().flat_map(|run| &run.steps));
    session.settings.communication_share = steps.communication_share();
    let results = Results {
        schema: SCHEMA.to_owned(),
        kind: session.kind,
        partial: cut_short.is_some(),
        environment: environment(time),
        model: session.model,
        hardware: session.hardware,
        engine: session.settings,
        repeats: metrics::summarize(&runs),
        runs,
        references,
    };
    let page = server_page(args, &files, &scenarios, &stop)?;
    // Files first: a reader who closes the pipe early ends the program in `show`.
    let written = write(args, &results, &raw, page.as_deref());
    show(args, &results, page.as_deref())?;
    written?;
    verdict(&results, cut_short)
}

/// One run: what was measured, its raw records, and why it ended early if it did.
fn play(
    args: &BenchArgs,
    session: &mut Session,
    run: &RunPlan,
    tracer: Option<&mut Tracer>,
    stop: &AtomicBool,
) -> Result<(Run, RawRun, Option<String>), Failure> {
    let timestamp = telemetry::utc_now();
    let bar = progress::requests(
        run.script.requests,
        &run.scenario.name,
        args.common.output.quiet,
    );
    let sampler = sampler(session)?;
    let (engine, script) = (&mut session.engine, &run.script);
    let recording = bench::play_traced(engine, script, stop, tracer, &mut || bar.inc(1));
    let seen = sampler.map_or_else(Recorded::default, Sampler::stop);
    bar.finish_and_clear();
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
        capacity: run.capacity(&session.settings),
        gpus: &devices,
        watched: &seen.gpus,
        roofs: session.hardware.roofs,
        clocks,
    });
    if session.kind == Kind::Predicted {
        metrics::mark_predicted(&mut measured, session.settings.server.is_some());
    }
    Ok((measured, raw, cut_short))
}

fn tracer(args: &BenchArgs, session: &Session) -> Tracer {
    let (model, hardware) = (session.model.label(), &session.hardware.name);
    Tracer::new(args.trace_steps.clone(), format!("{model} on {hardware}"))
}

/// Flags that only a simulated device has, or has not.
fn check_flags(args: &BenchArgs, device: &Device) -> anyhow::Result<()> {
    match device {
        Device::Simulated(_) if args.stop_at_eos => bail!(
            "--stop-at-eos: a simulated device draws tokens without meaning, so no answer has an end of its own; leave it out"
        ),
        Device::Cpu | Device::Cuda if args.server().is_some() => {
            bail!("--server vllm is added to a simulated device; add --device sim:<gpu>")
        }
        Device::Cpu if args.enforce_eager => {
            bail!("--enforce-eager is for a simulated device; add --device sim:<gpu>")
        }
        Device::Cuda if args.enforce_eager => {
            bail!("--enforce-eager is for a simulated device; use --no-cuda-graphs")
        }
        _ => Ok(()),
    }
}

/// An engine on the device that was asked for.
fn session(
    args: &BenchArgs,
    files: &ModelFiles,
    max_model_len: usize,
    job: Option<&Job>,
) -> Result<Session, Failure> {
    match &files.device {
        Device::Cpu | Device::Cuda => {
            Session::of_this_machine(&args.common, files, max_model_len, job)
        }
        Device::Simulated(_) if job.is_some() => Err(Failure::Usage(anyhow!(
            "--device sim: works in one process, whatever --tp is; start it without mpirun or srun"
        ))),
        Device::Simulated(gpu) => {
            simulated::start(&args.common, args.host(), files, gpu, max_model_len)
        }
    }
}

/// A machine that only works out a prediction has nothing to tell.
fn sampler(session: &Session) -> Result<Option<Sampler>, Failure> {
    if session.kind == Kind::Predicted {
        return Ok(None);
    }
    let clock = session.engine.clock().clone();
    let sampler = Sampler::start(clock, telemetry::sampler::INTERVAL, session.probe.clone())
        .map_err(|e| Failure::Run(anyhow!("the telemetry thread could not be started: {e}")))?;
    Ok(Some(sampler))
}

/// What the server of the reference runs cost: for whoever reads pages, of a simulated card.
fn server_page(
    args: &BenchArgs,
    files: &ModelFiles,
    scenarios: &[Scenario],
    stop: &AtomicBool,
) -> Result<Option<String>, Failure> {
    let wanted = args.out.is_some() || args.format == Format::Markdown;
    match &files.device {
        Device::Simulated(gpu) if wanted => server_cost::page(args, files, gpu, scenarios, stop),
        _ => Ok(None),
    }
}

fn write(
    args: &BenchArgs,
    results: &Results,
    raw: &[RawRun],
    page: Option<&str>,
) -> Result<(), Failure> {
    let Some(dir) = &args.out else {
        return Ok(());
    };
    let pages = page.map(|text| report::Page {
        name: SERVER_PAGE,
        text,
    });
    report::write_all(dir, false, results, raw, pages.as_slice()).map_err(Failure::run)?;
    if !args.common.output.quiet {
        output::note(&format!("written to {}", dir.display()));
    }
    Ok(())
}

fn environment(time: String) -> Environment {
    let machine = telemetry::machine();
    let features = job::FEATURES.iter().chain(cuda::FEATURES);
    let mut environment = Environment {
        candlepower: env!("CARGO_PKG_VERSION").to_owned(),
        git: revision().map(str::to_owned),
        features: features.copied().map(str::to_owned).collect(),
        os: machine.os.clone(),
        cpu: machine.cpu.clone(),
        cores: machine.cores,
        ram_gib: machine.ram_gib,
        time,
        ..Environment::default()
    };
    cuda::describe(&mut environment);
    environment
}

fn show(args: &BenchArgs, results: &Results, page: Option<&str>) -> Result<(), Failure> {
    if args.common.output.json {
        return output::result(&report::json(results).map_err(Failure::run)?);
    }
    if args.format == Format::Markdown {
        let summary = report::markdown(results);
        let page = page.map_or(String::new(), |page| format!("\n{page}"));
        return output::result(&format!("{summary}{page}"));
    }
    let width = output::terminal_width().unwrap_or(PIPE_WIDTH);
    output::result(&report::table(results, width))
}

/// A run that was cut short, or in which nothing succeeded, has failed; its results are shown all
/// the same.
fn verdict(results: &Results, cut_short: Option<String>) -> Result<(), Failure> {
    if let Some(reason) = cut_short {
        return Err(Failure::Run(anyhow!("the results are partial: {reason}")));
    }
    for run in &results.runs {
        if run.metrics.successful_requests == Some(0) {
            let first = run
                .failures
                .first()
                .map_or("unknown", |f| f.reason.as_str());
            return Err(Failure::Run(anyhow!(
                "no request of {} succeeded; the first failed with: {first}",
                run.scenario.name
            )));
        }
    }
    Ok(())
}
