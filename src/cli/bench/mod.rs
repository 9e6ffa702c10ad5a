//! `bench`: plays each load and reports the metric set.

mod args;
mod shapes;

use anyhow::{anyhow, bail};

use super::console::Console;
use super::failure::Failure;
use super::output;
use super::written::Written;
use crate::bench::{self, BenchPlan, Played, ShapePlan, Tracer};
use crate::ground::Progress;
use crate::ground::results::Results;
use crate::hardware;
use crate::reference;
use crate::report;
use crate::session::{self, Device, Job, ModelFiles, Session};
use crate::telemetry;

pub use args::{BenchArgs, Format, ServerFlag};

/// File of the page that only simulated cards have.
const SERVER_PAGE: &str = "server.md";
/// File of --log-schedule.
const SCHEDULE: &str = "schedule.jsonl";

pub fn run(args: &BenchArgs, job: Option<&Job>) -> Result<(), Failure> {
    let progress = Console::watching(&args.common.output);
    let load = args.load().map_err(|why| Failure::Usage(anyhow!(why)))?;
    let mut files = ModelFiles::find(&args.options(), progress.as_ref())?;
    check_flags(args, &files.device).map_err(Failure::Usage)?;
    if let Some(options) = args.shapes() {
        let plan = ShapePlan::new(options, &mut files)?;
        let mut session = files.open_for(plan.max_model_len, job, &progress)?;
        return shapes::run(args, &plan, &mut session);
    }
    let plan = BenchPlan::new(&load, &files, progress.as_ref())?;
    plan.remarks
        .iter()
        .for_each(|remark| progress.remark(remark));
    let scenarios: Vec<_> = plan.runs.iter().map(|run| run.scenario.clone()).collect();
    let card = card_of(&files.device);
    let references = reference::select(
        args.reference.as_deref(),
        &files.label(),
        (card.as_deref(), files.options.tp),
        &scenarios,
    )
    .map_err(Failure::usage)?;
    if let Some(dir) = &args.out {
        report::prepare(dir, args.overwrite).map_err(Failure::usage)?;
    }
    let trace = trace_file(args)?;
    let time = telemetry::utc_now();
    let mut session = files.open_for(plan.max_model_len, job, &progress)?;
    if args.log_schedule {
        session.engine.keep_schedule();
    }
    let mut tracer = trace.as_ref().map(|_| tracer(args, &session));
    let played = bench::play_all(&mut session, &plan, tracer.as_mut())?;
    let traced = trace.zip(tracer).map_or(Ok(()), |(file, tracer)| {
        let trace = tracer.finish(&mut session.engine).map_err(Failure::run)?;
        if trace.steps.is_empty() {
            let steps = played.raw.first().map_or(0, |run| run.steps.len());
            let std::ops::Range { start, end } = args.trace_steps;
            progress.remark(&format!(
                "warning: --trace-steps {start}..{end}: the first run had {steps} steps, counted from 0, so the trace has none; ask for some of these"
            ));
        }
        file.fill(|out| trace.write(out))
    });
    if let Some(reason) = nothing_came(&played) {
        return Err(Failure::Run(anyhow!("{reason}, so there is no result")));
    }
    let results = bench::results(&session, &played, time, references);
    let page = server_page(args, &session, &plan, progress.as_ref())?;
    let schedule = schedule(&mut session)?;
    // Files first: a reader who closes the pipe early ends the program in `show`.
    let pages = [
        (SERVER_PAGE, page.as_deref()),
        (SCHEDULE, schedule.as_deref()),
    ];
    let written = write(args, &results, &played, &pages);
    show(args, &results, page.as_deref())?;
    written?;
    traced?;
    verdict(&results, played.cut_short)
}

/// The card that computes or is simulated, as `candlepower gpus` names it.
fn card_of(device: &Device) -> Option<String> {
    match device {
        Device::Cpu => None,
        Device::Simulated(gpu) => Some(gpu.name.clone()),
        Device::Cuda => {
            let card = session::gpus::cards().first()?;
            let known = hardware::of_device(&card.name, card.memory_gib)?;
            Some(known.name)
        }
    }
}

/// Where the trace goes, which is no place of the result's.
fn trace_file(args: &BenchArgs) -> Result<Option<Written>, Failure> {
    if let (Some(dir), Some(path)) = (&args.out, &args.trace)
        && report::claims(dir, path)
    {
        return Err(Failure::Usage(anyhow!(
            "--trace {}: --out may write a file of that name there; give it another",
            path.display()
        )));
    }
    let file = Written::open("--trace", args.trace.as_deref())?;
    Written::distinct(&[file.as_ref()])?;
    Ok(file)
}

/// The calls of the scheduler as lines, where they were kept.
fn schedule(session: &mut Session) -> Result<Option<String>, Failure> {
    let Some(log) = session.engine.take_schedule() else {
        return Ok(None);
    };
    let mut lines = Vec::new();
    log.write(&mut lines).map_err(Failure::run)?;
    String::from_utf8(lines).map(Some).map_err(Failure::run)
}

/// Why there is nothing to show: the run was cut short before its first token.
fn nothing_came(played: &Played) -> Option<String> {
    let reason = played.cut_short.as_ref()?;
    let mut requests = played.raw.iter().flat_map(|run| &run.requests);
    let came = requests.any(|request| !request.tokens.is_empty());
    (!came).then(|| format!("{reason} before the first token"))
}

fn tracer(args: &BenchArgs, session: &Session) -> Tracer {
    let (model, hardware) = (session.model.label(), &session.hardware.name);
    let title = format!("{model} on {hardware}");
    let ranks = session.settings.ranks.iter().map(|rank| rank.name());
    Tracer::new(args.trace_steps.clone(), title, ranks.collect())
}

/// Flags that only a simulated device has, or has not.
fn check_flags(args: &BenchArgs, device: &Device) -> anyhow::Result<()> {
    args.server.check(device)?;
    match device {
        Device::Simulated(_) if args.stop_at_eos => bail!(
            "--stop-at-eos: a simulated device draws tokens without meaning, so no answer has an end of its own; leave it out"
        ),
        _ if args.format == Format::Jsonl && args.shapes.is_empty() => {
            bail!("--format jsonl is one line a shape; add --shapes, or use --format json")
        }
        _ => Ok(()),
    }
}

/// What the server of the reference runs cost: for whoever reads pages, of a simulated card.
fn server_page(
    args: &BenchArgs,
    session: &Session,
    plan: &BenchPlan,
    progress: &dyn Progress,
) -> Result<Option<String>, Failure> {
    let wanted = args.out.is_some() || args.format == Format::Markdown;
    let Device::Simulated(gpu) = &session.files.device else {
        return Ok(None);
    };
    if !wanted {
        return Ok(None);
    }
    let scenarios: Vec<_> = plan.runs.iter().map(|run| run.scenario.clone()).collect();
    let rows = reference::server_cost(&session.files, gpu, &scenarios, progress);
    let rows = rows.map_err(Failure::usage)?;
    let device = format!("sim:{}", gpu.name);
    let page = || report::server_cost(&rows, &device, reference::SERVER.name);
    Ok((!rows.is_empty()).then(page))
}

fn write(
    args: &BenchArgs,
    results: &Results,
    played: &Played,
    pages: &[(&str, Option<&str>)],
) -> Result<(), Failure> {
    let Some(dir) = &args.out else {
        return Ok(());
    };
    let pages = pages
        .iter()
        .filter_map(|(name, text)| text.map(|text| report::Page { name, text }));
    let pages: Vec<report::Page> = pages.collect();
    let written = report::write_all(dir, args.overwrite, results, &played.raw, &pages);
    written.map_err(Failure::run)?;
    if !args.common.output.quiet {
        output::note(&format!("written to {}", dir.display()));
    }
    Ok(())
}

fn show(args: &BenchArgs, results: &Results, page: Option<&str>) -> Result<(), Failure> {
    let width = output::width();
    let format = match args.common.output.json {
        true => Format::Json,
        false => args.format,
    };
    output::result(&match format {
        Format::Headline => report::headline(results, width),
        Format::Full => report::table(results, width),
        Format::Markdown => {
            let page = page.map_or(String::new(), |page| format!("\n{page}"));
            format!("{}{page}", report::markdown(results))
        }
        Format::Csv => report::csv::summary(results),
        Format::Json | Format::Jsonl => report::json(results).map_err(Failure::run)?,
    })
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
