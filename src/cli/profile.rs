//! `profile`: one step over and over, operation by operation.

use std::io::Write;
use std::sync::Arc;

use anyhow::{anyhow, bail};

use super::common::CommonArgs;
use super::device::Device;
use super::failure::Failure;
use super::job::Job;
use super::model_files::ModelFiles;
use super::profile_args::ProfileArgs;
use super::session::{self, Session};
use super::simulated::{self, Host};
use super::written::Written;
use super::{output, progress};
use crate::ground::results::Roofs;
use crate::model::dummy;
use crate::profile::{
    self, About, Counters, Load, Measured, Profile, Progress, StepCount, Trace, TraceStep,
};
use crate::report::profile::{csv, plot, text};

/// Columns of a table that is not on a terminal.
const PIPE_WIDTH: usize = 100;
const GIB: f64 = (1 << 30) as f64;

pub fn run(args: &ProfileArgs, job: Option<&Job>) -> Result<(), Failure> {
    if job.is_some() {
        return Err(Failure::Usage(anyhow!(
            "profile times the ranks of one process; start it without mpirun or srun, with the same --tp"
        )));
    }
    let files = ModelFiles::find(&args.common)?;
    let loads = loads(args);
    check(args, &loads).map_err(Failure::Usage)?;
    let longest = args.context.iter().copied().max().unwrap_or(1);
    let max_model_len = files.max_model_len(&args.common, longest)?;
    if longest > max_model_len {
        return Err(Failure::Usage(anyhow!(
            "--context {longest} is more than --max-model-len {max_model_len}; lower the one or raise the other"
        )));
    }
    let plot = Plot::open(args)?;
    let trace_file = Written::open("--trace", args.trace.as_deref())?;
    let csv_file = Written::open("--csv", args.csv.as_deref())?;
    // Before the ranks start: they count for threads that come after them.
    let mut counters = match files.device {
        Device::Cpu => Some(Counters::open()),
        Device::Cuda | Device::Simulated(_) => None,
    };
    let mut session = session(args, &files, max_model_len, &loads)?;
    check_kv(&session, &loads).map_err(Failure::Usage)?;
    let executor = session.engine.executor_mut();
    executor.touch_kv().map_err(Failure::run)?;
    let roofs = executor.measure_roofs();
    let mut seen = Vec::new();
    for load in loads {
        let measured = measure(args, &files, &mut session, load, counters.as_mut())?;
        seen.push((load, measured));
    }
    // The device is the same for all loads: a roof that was seen while others used the machine would make
    // operations look better than they are.
    let after = seen.iter().filter_map(|(_, measured)| measured.roofs);
    let roofs = roofs.into_iter().chain(after).reduce(Roofs::higher);
    let mut profiles = Vec::new();
    let mut trace = Trace::default();
    for (load, mut measured) in seen {
        measured.roofs = roofs;
        let about = about(&session, load);
        profiles.push(profile::profile(&about, &measured));
        if trace_file.is_some() {
            trace.title = format!("{} on {}", about.model, about.hardware);
            trace.append(traced(load, &session, measured));
        }
    }
    // Files first: a reader who closes the pipe early ends the program in `show`.
    if let Some(file) = trace_file {
        file.fill(|out| trace.write(out))?;
    }
    if let Some(file) = csv_file {
        file.fill(|out| out.write_all(csv(&profiles).as_bytes()))?;
    }
    if let Some(plot) = plot {
        plot.fill(&profiles)?;
    }
    show(args, &profiles)
}

/// Every batch at every context.
fn loads(args: &ProfileArgs) -> Vec<Load> {
    let contexts = args.context.iter();
    let loads = contexts.flat_map(|&context| {
        let load = move |&batch| Load {
            phase: args.phase.into(),
            batch,
            context,
        };
        args.batch.iter().map(load)
    });
    loads.collect()
}

/// What the flags allow a step to be.
fn check(args: &ProfileArgs, loads: &[Load]) -> anyhow::Result<()> {
    let common = &args.common;
    for load in loads {
        let Load {
            phase,
            batch,
            context,
        } = load;
        if *batch > common.max_num_seqs {
            bail!(
                "--batch {batch} is more than --max-num-seqs {}; lower the one or raise the other",
                common.max_num_seqs
            );
        }
        let rows = load.rows();
        if rows > common.max_num_batched_tokens {
            bail!(
                "{phase} of {batch} x {context} is one step of {rows} tokens, more than --max-num-batched-tokens {}; lower --batch or --context, or raise it",
                common.max_num_batched_tokens
            );
        }
    }
    Ok(())
}

fn session(
    args: &ProfileArgs,
    files: &ModelFiles,
    max_model_len: usize,
    loads: &[Load],
) -> Result<Session, Failure> {
    match &files.device {
        Device::Cpu | Device::Cuda => {
            let common = with_kv(&args.common, files, loads);
            Session::of_this_machine(&common, files, max_model_len, None)
        }
        Device::Simulated(gpu) => {
            let host = Host {
                server: None,
                graphs: true,
            };
            simulated::start(&args.common, host, files, gpu, max_model_len)
        }
    }
}

/// The flags, with a KV cache of what the largest load needs where the user named none.
fn with_kv(common: &CommonArgs, files: &ModelFiles, loads: &[Load]) -> CommonArgs {
    let asked = common.dtype.weight_type();
    let weights = dummy::dtype(asked.unwrap_or_else(|| files.spec.weight_type_or_usual()));
    let element_bytes = session::kv_dtype(common.kv_cache_dtype, weights).size_in_bytes();
    let elements = files.plan.tp() * files.plan.kv_elements_per_token();
    let tokens = most_blocks(loads, common.block_size) * common.block_size;
    let needed = (tokens * elements * element_bytes) as u64;
    CommonArgs {
        kv_cache_memory: common.kv_cache_memory.or(Some(needed)),
        ..common.clone()
    }
}

fn most_blocks(loads: &[Load], block_size: usize) -> usize {
    let blocks = loads.iter().map(|load| load.blocks(block_size));
    blocks.max().unwrap_or(0)
}

fn check_kv(session: &Session, loads: &[Load]) -> anyhow::Result<()> {
    let settings = &session.settings;
    let (needed, there) = (
        most_blocks(loads, settings.block_size),
        settings.num_kv_blocks + 1,
    );
    if needed > there {
        let bytes: u64 = settings.ranks.iter().map(|rank| rank.kv_bytes).sum();
        let gib = bytes as f64 / there as f64 * needed as f64 / GIB;
        bail!(
            "the largest step needs {needed} KV blocks of {} tokens, and the cache has {there}; lower --batch or --context, or give --kv-cache-memory {gib:.1}G",
            settings.block_size
        );
    }
    Ok(())
}

fn about(session: &Session, load: Load) -> About {
    let (model, hardware) = (&session.model, &session.hardware);
    About {
        kind: session.kind,
        device: hardware.device.clone(),
        hardware: hardware.name.clone(),
        model: model.label(),
        layers: model.num_hidden_layers,
        model_layers: model.model_layers,
        threads: session.settings.threads,
        load,
    }
}

fn measure(
    args: &ProfileArgs,
    files: &ModelFiles,
    session: &mut Session,
    load: Load,
    counters: Option<&mut Counters>,
) -> Result<Measured, Failure> {
    let plan = load.plan(session.settings.block_size, files.spec.vocab_size);
    let count = args.steps.map_or(StepCount::ByTime, StepCount::Exactly);
    let label = format!("{} {} x {}", load.phase, load.batch, load.context);
    let bar = progress::steps(&label, args.common.output.quiet);
    let clock = session.engine.clock().clone();
    let measured = profile::measure(
        session.engine.executor_mut(),
        &clock,
        &Arc::new(plan),
        count,
        counters,
        &mut |progress| match progress {
            Progress::Steps(count) => bar.set_length(count as u64),
            Progress::Step => bar.inc(1),
        },
    );
    bar.finish_and_clear();
    measured.map_err(Failure::run)
}

/// The measured steps, for a trace.
fn traced(load: Load, session: &Session, measured: Measured) -> Trace {
    let step = |(index, (start, end))| TraceStep {
        name: format!("{} {} x {} #{index}", load.phase, load.batch, load.context),
        start,
        end,
        batch: load.batch,
        rows: load.rows(),
        kv_blocks: load.blocks(session.settings.block_size) - 1,
    };
    Trace {
        title: String::new(),
        steps: measured.steps.into_iter().enumerate().map(step).collect(),
        timelines: measured.timelines,
    }
}

fn show(args: &ProfileArgs, profiles: &[Profile]) -> Result<(), Failure> {
    if args.common.output.json {
        return match profiles {
            [one] => output::json(one),
            all => output::json(&all),
        };
    }
    let width = output::terminal_width().unwrap_or(PIPE_WIDTH);
    output::result(&text(profiles, width))
}

/// A file for the roofline, drawn by the ending of its name.
struct Plot {
    file: Written,
    draw: fn(&[Profile]) -> String,
}

impl Plot {
    fn open(args: &ProfileArgs) -> Result<Option<Self>, Failure> {
        let Some(path) = &args.plot else {
            return Ok(None);
        };
        let draw = match path.extension().and_then(|end| end.to_str()) {
            Some("svg") => plot::svg,
            Some("html") => plot::html,
            _ => {
                return Err(Failure::Usage(anyhow!(
                    "--plot {}: a plot is an .svg or an .html file; let its name end so",
                    path.display()
                )));
            }
        };
        let file = Written::open("--plot", Some(path))?;
        Ok(file.map(|file| Self { file, draw }))
    }

    fn fill(self, profiles: &[Profile]) -> Result<(), Failure> {
        let drawn = (self.draw)(profiles);
        self.file.fill(|out| out.write_all(drawn.as_bytes()))
    }
}
