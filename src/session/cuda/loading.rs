//! What every rank of this process on a GPU is built from.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use candle_core::DType;

use super::places::Places;
use crate::exec::{Rank, Threads};
use crate::ground::{Clock, GpuIdentity, Progress, Task, WallClock};
use crate::model::{Decoder, Share, WeightSource, WeightType};
use crate::ops::cuda::{Cuda, Gpu, TIMEOUT};
use crate::parallel::Collective;
use crate::parallel::gpus::Link;
use crate::session::error::{RunError, SessionError};
use crate::session::files::ModelFiles;
use crate::session::job::Job;
use crate::session::loading::{Loading, default_threads};
use crate::session::options::EngineOptions;
use crate::session::patience;
use crate::telemetry::{GpuProbe, NvmlProbe};

/// How long a GPU is waited for at a time, unless [`TIMEOUT`] says otherwise: more than any step takes.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);
/// A stand-in takes minutes for what a GPU does at once.
const VIRTUAL_PATIENCE: Duration = Duration::from_secs(600);

/// Ranks to be loaded, and how they will be connected.
pub struct OnGpus {
    pub loading: Loading,
    pub probe: Arc<dyn GpuProbe>,
    pub link: Arc<Link>,
    /// Seconds of the rank that took longest: for its weights, and part of them in which its host waited for copies.
    pub slowest: Arc<Mutex<[f64; 2]>>,
    /// CPUs that the threads of each rank are bound to.
    pub rank_cpus: Vec<String>,
}

/// What activations and weights are computed in.
pub fn compute_type(options: &EngineOptions, weights: DType) -> DType {
    match options.dtype {
        Some(WeightType::F32) => DType::F32,
        Some(WeightType::F16) => DType::F16,
        Some(WeightType::Bf16) => DType::BF16,
        _ if matches!(weights, DType::F32 | DType::F16) => weights,
        _ => DType::BF16,
    }
}

/// What `work` gives, and the seconds that it took.
pub fn timed<R>(clock: &dyn Clock, work: impl FnOnce() -> R) -> (R, f64) {
    let start = clock.now();
    let done = work();
    (done, clock.now().saturating_sub(start).as_secs_f64())
}

/// For the ranks `here` of all, one on each of `gpus`, which read weights of a type. Whoever loads them ends the task
/// that this starts.
///
/// # Errors
/// What is to add up over the GPUs does not start.
pub fn prepare(
    files: &ModelFiles,
    (source, weight_dtype): (Arc<dyn WeightSource>, DType),
    here: Range<usize>,
    gpus: &[GpuIdentity],
    progress: &Arc<dyn Progress>,
) -> Result<OnGpus, SessionError> {
    let options = &files.options;
    let dtype = compute_type(options, weight_dtype);
    let limits = options.step_limits();
    let ranks: Vec<usize> = here.clone().collect();
    progress.start(Task::Load, files.weight_bytes(&ranks, dtype));
    let (spec, plan, seen) = (
        files.model.spec()?.clone(),
        files.plan.clone(),
        progress.clone(),
    );
    let largest = (limits.rows * spec.hidden_size * dtype.size_in_bytes()) as u64;
    let link = Link::of_part(here.clone(), plan.tp(), options.all_reduce, largest);
    let link = link.map_err(RunError::from)?;
    let link = Arc::new(link.with_limit(patience()?, progress.clone()));
    let joined = link.clone();
    let slowest = Arc::new(Mutex::new([0.0, 0.0]));
    let (told, clock) = (slowest.clone(), WallClock::start());
    let threads = Threads {
        count: options
            .threads
            .unwrap_or_else(default_threads)
            .max(here.len()),
        pinned: options.pin_threads,
    };
    let places = Places::new(gpus, threads).map_err(SessionError::load)?;
    let rank_cpus = places.told();
    let ordinals: Vec<usize> = gpus.iter().map(|gpu| gpu.index).collect();
    let build = move |host: Box<dyn Collective>| {
        let rank = host.rank();
        places.bind(rank - here.start)?;
        let gpu = Gpu::open(ordinals[rank - here.start]);
        let (gpu, collective) = joined.join(host, gpu)?;
        let share = Share {
            spec: &spec,
            plan: &plan,
            rank,
        };
        let cuda = Cuda::new(gpu, dtype)?;
        let mut advance = |bytes| seen.advance(bytes);
        let (loaded, took) = timed(&clock, || {
            let decoder = Decoder::load(share, source.as_ref(), &cuda, limits, &mut advance)?;
            candle_core::Result::Ok((decoder, cuda.loaded()?))
        });
        let (decoder, waited) = loaded?;
        let mut slowest = told.lock().unwrap_or_else(PoisonError::into_inner);
        if took > slowest[0] {
            *slowest = [took, waited.as_secs_f64()];
        }
        Ok(Rank::new(Box::new(cuda), collective, decoder))
    };
    let probe = NvmlProbe::open(gpus.to_vec());
    if let Some(reason) = probe.failure() {
        progress.remark(&format!("note: a GPU is not watched: {reason}"));
    }
    Ok(OnGpus {
        loading: Loading {
            weight_dtype,
            dtype,
            threads,
            room: u64::MAX,
            build: Arc::new(build),
            progress: progress.clone(),
        },
        probe: Arc::new(probe),
        link,
        slowest,
        rank_cpus,
    })
}

/// For a process of `job` that is not the first.
///
/// # Errors
/// It has too few GPUs, the weights cannot be opened; and as [`prepare`].
pub fn loading(
    files: &ModelFiles,
    job: &Job,
    progress: &Arc<dyn Progress>,
) -> Result<(Loading, Arc<dyn GpuProbe>), SessionError> {
    let opened = files.weight_source(progress)?;
    let ranks = prepare(files, opened, job.ranks(), job.gpus_here()?, progress)?;
    Ok((ranks.loading, ranks.probe))
}

/// How long a GPU is waited for at a time.
fn patience() -> Result<Duration, SessionError> {
    if let Some(patience) = patience::variable(TIMEOUT)? {
        return Ok(patience);
    }
    match Gpu::is_virtual(0).map_err(RunError::from)? {
        true => Ok(VIRTUAL_PATIENCE),
        false => Ok(DEFAULT_PATIENCE),
    }
}
