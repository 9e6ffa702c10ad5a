//! A session on the CPU: ranks as threads of this process, or as the processes of an MPI job.

use std::sync::Arc;

use candle_core::DType;

use super::assembly::{Session, Started};
use super::error::{NOT_LOADED, RunError, SessionError, Wish};
use super::files::ModelFiles;
use super::job::Job;
use super::kv::{cpu_kv_dtype, kv_dtype};
use super::loading::{Loaded, Loading};
use crate::exec::KvLayout;
use crate::ground::{Clock, Progress, WallClock, results};
use crate::telemetry::{Memory, machine};

/// The KV cache takes at most this much of a machine that was not asked.
const LARGEST_DEFAULT_KV: u64 = 4 << 30;
/// And at most one part in this many of the memory that is available.
const DEFAULT_KV_SHARE: u64 = 4;

/// Parts of a start that a CPU does not have.
const UNOBSERVED: [(&str, &str); 3] = [
    (
        "upload_s",
        "a CPU computes with weights where they were read to",
    ),
    ("warm_up_s", "a CPU runs no step before the first request"),
    ("capture_s", "a CPU has no graphs"),
];

/// Loads weights and allocates the KV cache, whose default size depends on `memory`. The ranks are the processes of
/// the `job`, or threads.
///
/// # Errors
/// The model does not fit in memory, its weights are malformed, or a rank failed.
pub fn start(
    files: ModelFiles,
    max_model_len: usize,
    memory: &Memory,
    job: Option<&Job>,
    progress: &Arc<dyn Progress>,
) -> Result<Session, SessionError> {
    let clock: Arc<dyn Clock> = Arc::new(WallClock::start());
    let ranks_here = match job {
        None => (0..files.plan.tp()).collect(),
        Some(job) => job.ranks_here(),
    };
    let begun = clock.now();
    let loading = Loading::prepare(&files, memory, &ranks_here, progress)?;
    let (weight_dtype, dtype) = (loading.weight_dtype, loading.dtype);
    let layout = kv_layout(&files, ranks_here.len(), weight_dtype, memory, loading.room)?;
    let loaded = match job {
        None => loading.start_threads(&files, memory.total),
        Some(job) => job.lead(&files, loading, None),
    };
    progress.finish();
    if progress.is_stopped() {
        return Err(RunError::Interrupted(NOT_LOADED).into());
    }
    let Loaded {
        mut executor,
        threads,
        processes,
    } = loaded.map_err(SessionError::load)?;
    let load_s = clock.now().saturating_sub(begun).as_secs_f64();
    executor.allocate_kv(&layout).map_err(Wish::Exec)?;
    let started = Started {
        kind: results::Kind::Measured,
        executor,
        threads,
        layout,
        max_model_len,
        clock,
        dtype,
        weight_dtype,
        hardware: results::Hardware {
            device: "cpu".to_owned(),
            name: machine().cpu.clone(),
            count: 1,
            memory_gib: machine().ram_gib,
            roofs: None,
        },
        start_up: results::StartUp {
            load_s: Some(load_s),
            ..results::StartUp::without(&UNOBSERVED)
        },
        probe: None,
        all_reduce: None,
        rank_cpus: Vec::new(),
        processes,
    };
    started.assemble(files, progress)
}

/// As many blocks as the memory holds, and the null block.
fn kv_layout(
    files: &ModelFiles,
    ranks_here: usize,
    weights: DType,
    memory: &Memory,
    room: u64,
) -> Result<KvLayout, Wish> {
    let options = &files.options;
    let dtype = kv_dtype(options.kv_cache_dtype, cpu_kv_dtype(weights));
    let default = LARGEST_DEFAULT_KV.min(memory.available / DEFAULT_KV_SHARE);
    let bytes = options.kv_cache_memory.unwrap_or(default.min(room));
    if bytes > room {
        return Err(Wish::KvMemory { asked: bytes, room });
    }
    // Of all ranks that share this machine's memory.
    let elements = ranks_here * files.plan.kv_elements_per_token();
    let block_bytes = (options.block_size * elements * dtype.size_in_bytes()) as u64;
    let blocks = (bytes / block_bytes) as usize;
    // The null block and one to use.
    if blocks < 2 {
        return Err(Wish::KvBlocks {
            bytes,
            blocks,
            block_bytes,
        });
    }
    Ok(KvLayout {
        num_blocks: blocks,
        block_size: options.block_size,
        dtype,
    })
}
