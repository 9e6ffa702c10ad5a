//! From a model's files to ranks on GPUs, warm, with a cache of what is left.

use std::sync::{Arc, PoisonError};

use candle_core::DType;

use super::GIB;
use super::loading::{OnGpus, compute_type, prepare, timed};
use super::memory::{self, Cards, Step, Wanted};
use crate::exec::graphs::GraphLimits;
use crate::exec::warm_up::WarmUp;
use crate::exec::{ExecError, KvLayout};
use crate::ground::{Clock, Progress, WallClock, results};
use crate::ops::cuda::{Gpu, is_out_of_memory};
use crate::session::assembly::{Session, Started};
use crate::session::error::{NOT_LOADED, RunError, SessionError, Wish};
use crate::session::files::ModelFiles;
use crate::session::job::Job;
use crate::session::kv::kv_dtype;
use crate::session::loading::Loaded;
use crate::session::options::EngineOptions;

/// Loads weights to every GPU of this process and of the `job`, runs the largest steps, and gives what is left to the KV cache.
///
/// # Errors
/// The model does not fit, its weights are malformed, or a GPU failed.
pub fn start(
    files: ModelFiles,
    max_model_len: usize,
    job: Option<&Job>,
    progress: &Arc<dyn Progress>,
) -> Result<Session, SessionError> {
    let options = &files.options;
    let clock: Arc<dyn Clock> = Arc::new(WallClock::start());
    let opened = files.weight_source(progress)?;
    let weight_dtype = opened.1;
    let dtype = compute_type(options, weight_dtype);
    let cached = kv_dtype(options.kv_cache_dtype, dtype);
    let limits = options.step_limits();
    let tp = files.plan.tp();
    // Of all ranks, and of those here, which are the first.
    let (all, gpus) = match job {
        None => {
            let gpus: candle_core::Result<Vec<_>> = (0..tp).map(Gpu::identify).collect();
            let gpus = gpus.map_err(RunError::from)?;
            (gpus.clone(), gpus)
        }
        Some(job) => (job.gpus()?.concat(), job.gpus_here()?.to_vec()),
    };
    let smallest = all.iter().min_by_key(|gpu| gpu.memory_bytes);
    let free: candle_core::Result<Vec<_>> =
        gpus.iter().map(|gpu| Gpu::free_memory(gpu.index)).collect();
    let cards = Cards {
        gpu: smallest.ok_or_else(|| Wish::Cuda(format!("--tp {tp} names no GPU")))?,
        free: free.map_err(RunError::from)?.into_iter().min().unwrap_or(0),
        count: Gpu::count().map_err(RunError::from)?,
    };
    let wanted = Wanted {
        options,
        model: &files.source.name,
        spec: files.model.spec()?,
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
    let here = job.map_or(0..tp, Job::ranks);
    let OnGpus {
        loading,
        probe,
        link,
        slowest,
        rank_cpus,
    } = prepare(&files, opened, here, &gpus, progress)?;
    let elements = files.plan.kv_elements_per_token();
    let loaded = match job {
        None => loading.start(&files, u64::MAX),
        Some(job) => job.lead(&files, loading, Some(probe.clone())),
    };
    progress.finish();
    if progress.is_stopped() {
        return Err(RunError::Interrupted(NOT_LOADED).into());
    }
    let Loaded {
        mut executor,
        threads,
        processes,
    } = loaded.map_err(failed(Step::Weights))?;
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
    let (headroom, warm_up_s) = timed(clock.as_ref(), || executor.warm_up(warm_up, cached, graphs));
    let headroom = headroom.map_err(failed(Step::Workspace))?;
    let budgets = headroom.iter();
    let budgets = budgets.map(|headroom| headroom.kv_bytes(options.gpu_memory_utilization));
    let budget = budgets.min().unwrap_or(0);
    let layout = layout(options, elements, cached, budget)?;
    executor
        .allocate_kv(&layout)
        .map_err(failed(Step::KvCache))?;
    let mut capture_s = None;
    if let Some(graphs) = graphs {
        let (captured, took) = timed(clock.as_ref(), || executor.capture(graphs, progress));
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
    let total = headroom.iter().map(|h| h.memory.total).max();
    let name = gpus.first().map(|gpu| gpu.name.clone());
    let kind = match Gpu::is_virtual(0).map_err(RunError::from)? {
        true => results::Kind::Virtual,
        false => results::Kind::Measured,
    };
    let started = Started {
        kind,
        executor,
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
        probe: Some(probe),
        all_reduce: link.ways(),
        rank_cpus,
        processes,
    };
    started.assemble(files, progress)
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
