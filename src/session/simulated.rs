//! `sim:<gpu>`: a session in virtual time.

use std::sync::Arc;

use super::assembly::{Session, describe_model};
use super::error::{SessionError, Wish};
use super::files::ModelFiles;
use super::kv::kv_dtype_name;
use super::model::Model;
use super::options::EngineOptions;
use super::simulation::{Simulation, Started};
use crate::exec::simulated;
use crate::fit::{self, Card, Release};
use crate::ground::Progress;
use crate::ground::results::{self, Kind};
use crate::hardware::Gpu;
use crate::model::dummy;
use crate::parallel::Split;
use crate::scheduler::SchedulerConfig;
use crate::shape::ModelShape;

/// Of a model that this program's engine does not run.
const OTHERS: &str =
    "its bytes and FLOPs are worked out from what its files say, for an engine that runs it";
/// Why no part of its start took time.
const NOTHING: &str = "nothing is loaded: the device is simulated";

impl EngineOptions {
    /// What they ask of `gpu`, of any model.
    pub fn simulation(
        &self,
        gpu: &Gpu,
        model: &str,
        shape: &ModelShape,
        max_model_len: usize,
    ) -> Simulation {
        let limits = match self.server {
            None => (self.seqs(), self.tokens()),
            Some(_) => fit::server_limits(Release::USUAL, &Card::from(gpu)),
        };
        Simulation {
            model: model.to_owned(),
            shape: shape.clone(),
            gpu: gpu.clone(),
            split: Split {
                tp: self.tp,
                expert_parallel: self.expert_parallel,
            },
            server: self.server,
            graphs: self.cuda_graphs,
            all_reduce: self.all_reduce,
            dtype: self.dtype,
            kv_type: self.kv_cache_dtype,
            kv_bytes: self.kv_cache_memory,
            utilization: self.gpu_memory_utilization,
            scheduler: SchedulerConfig {
                policy: self.scheduler,
                max_num_seqs: self.max_num_seqs.unwrap_or(limits.0),
                max_num_batched_tokens: self.max_num_batched_tokens.unwrap_or(limits.1),
                max_model_len,
                block_size: self.block_size,
                num_blocks: 0,
                prefix_cache: self.prefix_cache,
            },
        }
    }
}

/// Loads nothing.
///
/// # Errors
/// The model does not fit on the card.
pub fn start(
    files: ModelFiles,
    gpu: &Gpu,
    max_model_len: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Session, SessionError> {
    let options = &files.options;
    let simulation = options.simulation(gpu, &files.source.name, files.plan.shape(), max_model_len);
    let started = simulation.start().map_err(Wish::from)?;
    let weights = files.shape().weight_type.unwrap_or_default();
    Ok(Session {
        kind: Kind::Predicted,
        model: results::Model {
            assumptions: assumptions(&files),
            ..describe_model(&files, dummy::dtype(weights))
        },
        hardware: results::Hardware {
            device: options.device.clone().unwrap_or_default(),
            name: gpu.full_name.clone(),
            count: options.tp,
            memory_gib: gpu.memory_gib,
            roofs: None,
        },
        settings: settings(&files, &simulation, &started),
        engine: started.engine,
        start_up: results::StartUp::without(
            &["total_s", "load_s", "upload_s", "warm_up_s", "capture_s"]
                .map(|part| (part, NOTHING)),
        ),
        probe: None,
        all_reduce: started.all_reduce,
        processes: Vec::new(),
        files,
        progress: progress.clone(),
    })
}

/// What the model of time takes for granted of the model.
fn assumptions(files: &ModelFiles) -> Vec<String> {
    let shape = files.shape();
    let others = match &files.model {
        Model::Own(_) => None,
        Model::Others { .. } => Some(OTHERS.to_owned()),
    };
    let read = shape.assumptions.iter().cloned();
    others
        .into_iter()
        .chain(read)
        .chain(simulated::assumed(shape))
        .collect()
}

fn settings(files: &ModelFiles, simulation: &Simulation, started: &Started) -> results::Engine {
    let scheduler = &started.scheduler;
    results::Engine {
        max_model_len: scheduler.max_model_len,
        max_num_seqs: scheduler.max_num_seqs,
        max_num_batched_tokens: scheduler.max_num_batched_tokens,
        block_size: scheduler.block_size,
        num_kv_blocks: scheduler.usable_blocks(),
        scheduler: scheduler.policy.to_string(),
        prefix_cache: scheduler.prefix_cache,
        cuda_graphs: Some(files.options.cuda_graphs),
        dtype: simulation.dtype().name().to_owned(),
        kv_cache_dtype: kv_dtype_name(started.kv_dtype).to_owned(),
        activation_scheme: files.model.activation_scheme(),
        tp: simulation.split.tp,
        expert_parallel: simulation.split.expert_parallel,
        // Nothing computes.
        threads: 0,
        pin_threads: false,
        rank_cpus: Vec::new(),
        seed: files.options.seed,
        ranks: started.ranks.clone(),
        communication_share: None,
        timed_by: "formula".to_owned(),
        server: simulation.server.map(|server| server.name.to_owned()),
    }
}
