//! The loads of a profile, run on a session of their own: one step over and over, operation by operation.

use std::sync::Arc;

use super::about::About;
use super::counters::Counters;
use super::load::Load;
use super::measure::{Measured, StepCount, Steps, measure};
use super::options::ProfileOptions;
use super::result::Profile;
use super::table::profile;
use super::trace::{Trace, TraceStep};
use crate::ground::Progress;
use crate::ground::results::Roofs;
use crate::session::{Device, Job, ModelFiles, RunError, Session, SessionError, Wish};

const GIB: f64 = (1 << 30) as f64;

/// What is profiled of which model.
pub struct ProfilePlan {
    files: ModelFiles,
    loads: Vec<Load>,
    steps: Steps,
    max_model_len: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Profiled {
    /// One a load, in their order; fewer than planned where the profile was stopped.
    pub profiles: Vec<Profile>,
    /// Every step of every load.
    pub trace: Trace,
    /// Whether loads are missing.
    pub is_partial: bool,
}

impl ProfilePlan {
    /// # Errors
    /// A load is larger than the limits or the model's context.
    pub fn new(options: &ProfileOptions, files: ModelFiles) -> Result<Self, SessionError> {
        options.check(&files.options)?;
        let longest = options.context.iter().copied().max().unwrap_or(1);
        let max_model_len = files.max_model_len(longest)?;
        if longest > max_model_len {
            return Err(Wish::Load(format!(
                "--context {longest} is more than --max-model-len {max_model_len}; lower the one or raise the other"
            ))
            .into());
        }
        Ok(Self {
            files,
            loads: options.loads(),
            steps: Steps {
                count: options.steps.map_or(StepCount::ByTime, StepCount::Exactly),
                by_events: options.by_events,
            },
            max_model_len,
        })
    }

    /// Opens a session and times every load; a stop keeps those that are done.
    ///
    /// # Errors
    /// The model cannot be loaded, or a step failed.
    pub fn run(
        self,
        job: Option<&Job>,
        progress: &Arc<dyn Progress>,
    ) -> Result<Profiled, SessionError> {
        let Self {
            mut files,
            loads,
            steps,
            max_model_len,
        } = self;
        // Before the ranks start: they count for threads that come after them.
        let mut counters = match files.device {
            Device::Cpu => Some(Counters::open()),
            Device::Cuda | Device::Simulated(_) => None,
        };
        if !files.device.is_simulated() {
            let tokens = most_blocks(&loads, files.options.block_size) * files.options.block_size;
            let needed = files.kv_bytes(tokens);
            files.options.kv_cache_memory.get_or_insert(needed);
        }
        let mut session = files.open_for(max_model_len, job, progress)?;
        check_kv(&session, &loads)?;
        let executor = session.engine.executor_mut();
        executor.touch_kv().map_err(RunError::from)?;
        let mut seen = Vec::new();
        for &load in &loads {
            if progress.is_stopped() {
                break;
            }
            let measured = measured(&mut session, load, steps, counters.as_mut())?;
            if !measured.steps.is_empty() {
                seen.push((load, measured));
            }
        }
        let is_partial = progress.is_stopped();
        // Each load has seen them, before it; once more, as what else the machine does comes and goes.
        let roofs = match is_partial {
            true => None,
            false => session.engine.measure_roofs(),
        };
        Ok(tabled(&session, seen, roofs, is_partial))
    }
}

fn most_blocks(loads: &[Load], block_size: usize) -> usize {
    let blocks = loads.iter().map(|load| load.blocks(block_size));
    blocks.max().unwrap_or(0)
}

fn check_kv(session: &Session, loads: &[Load]) -> Result<(), Wish> {
    let settings = &session.settings;
    let (needed, there) = (
        most_blocks(loads, settings.block_size),
        settings.num_kv_blocks + 1,
    );
    if needed > there {
        let bytes: u64 = settings.ranks.iter().map(|rank| rank.kv_bytes).sum();
        let gib = bytes as f64 / there as f64 * needed as f64 / GIB;
        return Err(Wish::Load(format!(
            "the largest step needs {needed} KV blocks of {} tokens, and the cache has {there}; lower --batch or --context, or give --kv-cache-memory {gib:.1}G",
            settings.block_size
        )));
    }
    Ok(())
}

fn measured(
    session: &mut Session,
    load: Load,
    steps: Steps,
    counters: Option<&mut Counters>,
) -> Result<Measured, RunError> {
    let plan = load.plan(session.settings.block_size, session.model.vocab_size);
    let label = format!("{} {} x {}", load.phase, load.batch, load.context);
    let progress = session.progress.clone();
    let clock = session.engine.clock().clone();
    let measured = measure(
        session.engine.executor_mut(),
        &clock,
        &Arc::new(plan),
        steps,
        counters,
        (&label, progress.as_ref()),
    );
    Ok(measured?)
}

fn tabled(
    session: &Session,
    seen: Vec<(Load, Measured)>,
    roofs: Option<Roofs>,
    is_partial: bool,
) -> Profiled {
    // The device is the same for all loads: a roof that was seen while others used the machine would make
    // operations look better than they are.
    let before = seen.iter().filter_map(|(_, measured)| measured.roofs);
    let roofs = before.chain(roofs).reduce(Roofs::higher);
    let mut profiled = Profiled {
        is_partial,
        ..Profiled::default()
    };
    for (load, mut measured) in seen {
        measured.roofs = roofs;
        let about = about(session, load);
        profiled.profiles.push(profile(&about, &measured));
        profiled.trace.title = format!("{} on {}", about.model, about.hardware);
        let ranks = session.settings.ranks.iter().map(|rank| rank.name());
        profiled.trace.ranks = ranks.collect();
        profiled.trace.append(traced(load, session, measured));
    }
    profiled
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
        ranks: Vec::new(),
        steps: measured.steps.into_iter().enumerate().map(step).collect(),
        timelines: measured.timelines,
    }
}
