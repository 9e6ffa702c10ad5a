//! `--device sim:<gpu>`: a session in virtual time.

use super::common::CommonArgs;
use super::failure::Failure;
use super::model_files::ModelFiles;
use super::session::{self, Session};
use crate::bench::{Simulation, Started};
use crate::exec::Server;
use crate::ground::results::{self, Kind};
use crate::hardware::Gpu;
use crate::model::{ModelSpec, dummy};
use crate::parallel::Split;
use crate::scheduler::SchedulerConfig;

/// What stands before the card: nothing, unless asked for.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    pub server: Option<Server>,
    /// Kernels are launched from CUDA graphs.
    pub graphs: bool,
}

/// What the flags ask for, of any model.
pub fn simulation(
    common: &CommonArgs,
    host: Host,
    gpu: &Gpu,
    (model, spec): (&str, &ModelSpec),
    max_model_len: usize,
) -> Simulation {
    Simulation {
        model: model.to_owned(),
        spec: spec.clone(),
        gpu: gpu.clone(),
        split: Split {
            tp: common.tp,
            expert_parallel: common.expert_parallel,
        },
        server: host.server,
        graphs: host.graphs,
        dtype: common.dtype.weight_type(),
        kv_type: common.kv_cache_dtype.kv_type(),
        kv_bytes: common.kv_cache_memory,
        utilization: common.gpu_memory_utilization,
        scheduler: SchedulerConfig {
            policy: common.scheduler,
            max_num_seqs: common.max_num_seqs,
            max_num_batched_tokens: common.max_num_batched_tokens,
            max_model_len,
            block_size: common.block_size,
            num_blocks: 0,
            prefix_cache: common.prefix_cache,
        },
    }
}

/// Loads nothing.
pub fn start(
    common: &CommonArgs,
    host: Host,
    files: &ModelFiles,
    gpu: &Gpu,
    max_model_len: usize,
) -> Result<Session, Failure> {
    let model = (files.source.name.as_str(), &files.spec);
    let simulation = simulation(common, host, gpu, model, max_model_len);
    let started = simulation.start().map_err(Failure::usage)?;
    let weights = files.spec.weight_type_or_usual();
    Ok(Session {
        kind: Kind::Predicted,
        model: session::describe_model(files, dummy::dtype(weights)),
        hardware: results::Hardware {
            device: common.device.clone().unwrap_or_default(),
            name: gpu.full_name.clone(),
            count: common.tp,
            memory_gib: gpu.memory_gib,
            roofs: None,
        },
        settings: settings(&simulation, &started, common.seed),
        engine: started.engine,
        probe: None,
    })
}

fn settings(simulation: &Simulation, started: &Started, seed: u64) -> results::Engine {
    let scheduler = &started.scheduler;
    results::Engine {
        max_model_len: scheduler.max_model_len,
        max_num_seqs: scheduler.max_num_seqs,
        max_num_batched_tokens: scheduler.max_num_batched_tokens,
        block_size: scheduler.block_size,
        num_kv_blocks: scheduler.usable_blocks(),
        scheduler: scheduler.policy.to_string(),
        prefix_cache: scheduler.prefix_cache,
        dtype: simulation.dtype().name().to_owned(),
        kv_cache_dtype: session::kv_dtype_name(started.kv_dtype).to_owned(),
        activation_scheme: session::activation_scheme(&simulation.spec),
        tp: simulation.split.tp,
        expert_parallel: simulation.split.expert_parallel,
        // Nothing computes.
        threads: 0,
        pin_threads: false,
        seed,
        ranks: started.ranks.clone(),
        communication_share: None,
        server: simulation.server.map(|server| server.name.to_owned()),
    }
}
