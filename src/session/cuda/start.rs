//! From a model's files to ranks on GPUs, warm, with a cache of what is left.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use candle_core::DType;

use super::GIB;
use super::memory::{self, Cards, Step, Wanted};
use super::places::Places;
use crate::exec::graphs::GraphLimits;
use crate::exec::warm_up::WarmUp;
use crate::exec::{ExecError, Executor, KvLayout, Rank, Ranks, Threads};
use crate::ground::{Clock, Progress, Task, WallClock, results};
use crate::model::{Decoder, Share, WeightType};
use crate::ops::cuda::{Cuda, Gpu, TIMEOUT, is_out_of_memory};
use crate::parallel::Collective;
use crate::parallel::gpus::Link;
use crate::session::assembly::{Session, Started};
use crate::session::error::{NOT_LOADED, RunError, SessionError, Wish};
use crate::session::files::ModelFiles;
use crate::session::kv::kv_dtype;
use crate::session::loading::default_threads;
use crate::session::options::EngineOptions;
use crate::session::patience;
use crate::telemetry::NvmlProbe;

/// How long a GPU is waited for at a time, unless [`TIMEOUT`] says otherwise: more than any step takes.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);
/// A stand-in takes minutes for what a GPU does at once.
const VIRTUAL_PATIENCE: Duration = Duration::from_secs(600);

/// What activations and weights are computed in.
fn compute_type(options: &EngineOptions, weights: DType) -> DType {
    match options.dtype {
        Some(WeightType::F32) => DType::F32,
        Some(WeightType::F16) => DType::F16,
        Some(WeightType::Bf16) => DType::BF16,
        _ if matches!(weights, DType::F32 | DType::F16) => weights,
        _ => DType::BF16,
    }
}

/// Loads weights to every GPU, runs the largest steps, and gives what is left to the KV cache.
///
/// # Errors
/// The model does not fit, its weights are malformed, or a GPU failed.
pub fn start(
    files: ModelFiles,
    max_model_len: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Session, SessionError> {
    let options = &files.options;
    let clock: Arc<dyn Clock> = Arc::new(WallClock::start());
    let (source, weight_dtype) = files.weight_source(progress)?;
    let dtype = compute_type(options, weight_dtype);
    let cached = kv_dtype(options.kv_cache_dtype, dtype);
    let limits = options.step_limits();
    let tp = files.plan.tp();
    let gpus: candle_core::Result<Vec<_>> = (0..tp).map(Gpu::identify).collect();
    let gpus = gpus.map_err(RunError::from)?;
    let smallest = gpus.iter().min_by_key(|gpu| gpu.memory_bytes);
    let free: candle_core::Result<Vec<_>> = (0..tp).map(Gpu::free_memory).collect();
    let cards = Cards {
        gpu: smallest.ok_or_else(|| Wish::Cuda(format!("--tp {tp} names no GPU")))?,
        free: free.map_err(RunError::from)?.into_iter().min().unwrap_or(0),
        count: Gpu::count().map_err(RunError::from)?,
    };
    let wanted = Wanted {
        options,
        model: &files.source.name,
        spec: &files.spec,
        weights: dtype,
        max_model_len,
    };
    memory::check(&wanted, &cards)?;
    let failed = |step| {
        move |error: ExecError| match &error {
            _ if progress.is_stopped() => RunError::Interrupted(NOT_LOADED).into(),
            ExecError::Device { source, .. } if is_out_of_memory(source) => {
                RunError::OutOfMemory(memory::ran_out(&wanted, &cards, step)).into()
            }
            _ => SessionError::load(error),
        }
    };
    let all: Vec<usize> = (0..tp).collect();
    progress.start(Task::Load, files.weight_bytes(&all, dtype));
    let (spec, plan, seen) = (files.spec.clone(), files.plan.clone(), progress.clone());
    let largest = (limits.rows * spec.hidden_size * dtype.size_in_bytes()) as u64;
    let link = Link::new(tp, options.all_reduce, largest).map_err(RunError::from)?;
    let link = Arc::new(link.with_limit(patience()?, progress.clone()));
    let joined = link.clone();
    // Seconds of the rank that took longest: for its weights, and part of them in which its host waited for copies.
    let slowest = Arc::new(Mutex::new([0.0, 0.0]));
    let (told, watch) = (slowest.clone(), clock.clone());
    let threads = Threads {
        count: options.threads.unwrap_or_else(default_threads).max(tp),
        pinned: options.pin_threads,
    };
    let places = Places::new(&gpus, threads).map_err(SessionError::load)?;
    let rank_cpus = places.told();
    let build = move |host: Box<dyn Collective>| {
        let rank = host.rank();
        places.bind(rank)?;
        let gpu = Gpu::open(rank);
        let (gpu, collective) = joined.join(host, gpu)?;
        let share = Share {
            spec: &spec,
            plan: &plan,
            rank,
        };
        let cuda = Cuda::new(gpu, dtype)?;
        let mut advance = |bytes| seen.advance(bytes);
        let (loaded, took) = timed(watch.as_ref(), || {
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
    let elements = files.plan.kv_elements_per_token();
    let threads = threads.count;
    let ranks = Ranks::load(tp, threads, u64::MAX, elements, Arc::new(build));
    progress.finish();
    if progress.is_stopped() {
        return Err(RunError::Interrupted(NOT_LOADED).into());
    }
    let mut ranks = ranks.map_err(failed(Step::Weights))?;
    let warm_up = WarmUp {
        rows: limits.rows,
        sequences: limits.logit_rows,
        max_model_len,
        block_size: options.block_size,
    };
    let graphs = options.cuda_graphs.then_some(GraphLimits {
        rows: limits.logit_rows,
        step_rows: limits.rows,
        max_blocks: warm_up.blocks_of_longest(),
    });
    let (headroom, warm_up_s) = timed(clock.as_ref(), || {
        ranks.together(move |rank| rank.warm_up(&warm_up, cached, graphs))
    });
    let headroom = headroom.map_err(failed(Step::Workspace))?;
    let budgets = headroom.iter().flatten();
    let budgets = budgets.map(|headroom| headroom.kv_bytes(options.gpu_memory_utilization));
    let budget = budgets.min().unwrap_or(0);
    let layout = layout(options, elements, cached, budget)?;
    ranks.allocate_kv(&layout).map_err(failed(Step::KvCache))?;
    let mut capture_s = None;
    if let Some(graphs) = graphs {
        let watched = progress.clone();
        let (captured, took) = timed(clock.as_ref(), || {
            ranks.together(move |rank| rank.capture(&graphs, usize::MAX, || watched.is_stopped()))
        });
        captured.map_err(failed(Step::KvCache))?;
        capture_s = Some(took);
    }
    if progress.is_stopped() {
        return Err(RunError::Interrupted(NOT_LOADED).into());
    }
    let [loading, waited] = *slowest.lock().unwrap_or_else(PoisonError::into_inner);
    let without: &[_] = match capture_s {
        Some(_) => &[],
        None => &[(
            "capture_s",
            "--no-cuda-graphs launches each kernel by itself",
        )],
    };
    let total = headroom.iter().flatten().map(|h| h.memory.total).max();
    let name = gpus.first().map(|gpu| gpu.name.clone());
    let probe = NvmlProbe::open(gpus);
    if let Some(reason) = probe.failure() {
        progress.remark(&format!("note: a GPU is not watched: {reason}"));
    }
    let kind = match Gpu::is_virtual(0).map_err(RunError::from)? {
        true => results::Kind::Virtual,
        false => results::Kind::Measured,
    };
    let started = Started {
        kind,
        executor: Box::new(ranks),
        threads,
        layout,
        max_model_len,
        clock,
        dtype,
        weight_dtype,
        hardware: results::Hardware {
            device: "cuda".to_owned(),
            name: name.unwrap_or_default(),
            count: tp,
            memory_gib: total.unwrap_or(0) as f64 / GIB,
            roofs: None,
        },
        start_up: results::StartUp {
            load_s: Some(loading - waited),
            upload_s: Some(waited),
            warm_up_s: Some(warm_up_s),
            capture_s,
            ..results::StartUp::without(without)
        },
        probe: Some(Arc::new(probe)),
        all_reduce: link.ways(),
        rank_cpus,
    };
    started.assemble(files, progress)
}

/// What `work` gives, and the seconds that it took.
fn timed<R>(clock: &dyn Clock, work: impl FnOnce() -> R) -> (R, f64) {
    let start = clock.now();
    let done = work();
    (done, clock.now().saturating_sub(start).as_secs_f64())
}

/// As many blocks as `budget` bytes of each GPU hold, and the null block.
fn layout(
    options: &EngineOptions,
    elements: usize,
    dtype: DType,
    budget: u64,
) -> Result<KvLayout, Wish> {
    let block_bytes = (options.block_size * elements * dtype.size_in_bytes()) as u64;
    let asked = options
        .kv_cache_memory
        .map(|bytes| bytes / options.tp as u64);
    if let Some(asked) = asked
        && asked > budget
    {
        return Err(Wish::Cuda(format!(
            "--kv-cache-memory {} is {asked} bytes a GPU, and weights, activations and graphs leave {budget} of --gpu-memory-utilization {}; lower the one or raise the other",
            options.kv_cache_memory.unwrap_or(asked),
            options.gpu_memory_utilization
        )));
    }
    let bytes = asked.unwrap_or(budget);
    let num_blocks = (bytes / block_bytes) as usize;
    // The null block and one to use.
    if num_blocks < 2 {
        return Err(Wish::Cuda(format!(
            "weights, activations and graphs leave {bytes} bytes a GPU for the KV cache, and two blocks of {} tokens take {}; raise --gpu-memory-utilization {}, lower --max-num-batched-tokens or raise --tp",
            options.block_size,
            2 * block_bytes,
            options.gpu_memory_utilization
        )));
    }
    Ok(KvLayout {
        num_blocks,
        block_size: options.block_size,
        dtype,
    })
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
