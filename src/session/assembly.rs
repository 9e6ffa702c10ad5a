//! An engine around loaded ranks, and the words for it in a result.

use std::sync::Arc;
use std::time::Duration;

use candle_core::DType;

use super::error::{RunError, SessionError, Wish};
use super::files::ModelFiles;
use super::kv::kv_dtype_name;
use crate::engine::Engine;
use crate::exec::{Executor, KvLayout};
use crate::ground::{Clock, Progress, results};
use crate::hub::WeightFiles;
use crate::scheduler::SchedulerConfig;
use crate::telemetry::GpuProbe;

/// A loaded engine and the words for it in a result.
///
/// ```
/// use candlepower::EngineOptions;
///
/// let session = EngineOptions::new("tests/fixtures/llama-tiny").device("cpu").open()?;
/// assert_eq!(session.settings.tp, 1);
/// assert_eq!(session.model.architecture, "llama");
/// # Ok::<(), candlepower::Error>(())
/// ```
pub struct Session {
    /// Whether its numbers are measured, predicted, or of a virtual GPU.
    pub kind: results::Kind,
    /// The scheduler and the ranks under it.
    pub engine: Engine,
    /// The model's name and shapes.
    pub model: results::Model,
    /// What it runs on.
    pub hardware: results::Hardware,
    /// Every limit and policy, as it was resolved.
    pub settings: results::Engine,
    /// Where the time until now went.
    pub start_up: results::StartUp,
    /// Of the GPUs that are used.
    pub probe: Option<Arc<dyn GpuProbe>>,
    /// How these add up; `None`: there is one, or none.
    pub all_reduce: Option<results::AllReduce>,
    /// Of an MPI job, in the order of their ranks; empty: there is no job.
    pub processes: Vec<results::Process>,
    /// Where the model came from.
    pub files: ModelFiles,
    /// Who watches, and may stop, what the session does.
    pub progress: Arc<dyn Progress>,
}

/// Ranks that are loaded, with a cache.
pub struct Started {
    pub kind: results::Kind,
    pub executor: Box<dyn Executor>,
    /// CPU threads of all ranks.
    pub threads: usize,
    pub layout: KvLayout,
    pub max_model_len: usize,
    /// Started before anything was loaded.
    pub clock: Arc<dyn Clock>,
    /// Of activations.
    pub dtype: DType,
    pub weight_dtype: DType,
    pub hardware: results::Hardware,
    /// All but the total.
    pub start_up: results::StartUp,
    pub probe: Option<Arc<dyn GpuProbe>>,
    pub all_reduce: Option<results::AllReduce>,
    /// CPUs that the threads of each rank are bound to.
    pub rank_cpus: Vec<String>,
    pub processes: Vec<results::Process>,
}

impl Started {
    /// # Errors
    /// The scheduler refuses its limits, or a rank has failed.
    pub fn assemble(
        self,
        files: ModelFiles,
        progress: &Arc<dyn Progress>,
    ) -> Result<Session, SessionError> {
        let Self {
            kind,
            mut executor,
            threads,
            layout,
            max_model_len,
            clock,
            dtype,
            weight_dtype,
            hardware,
            start_up,
            probe,
            all_reduce,
            rank_cpus,
            processes,
        } = self;
        let options = &files.options;
        let config = SchedulerConfig {
            policy: options.scheduler,
            max_num_seqs: options.seqs(),
            max_num_batched_tokens: options.tokens(),
            max_model_len,
            block_size: options.block_size,
            num_blocks: layout.num_blocks,
            prefix_cache: options.prefix_cache,
        };
        let on_gpus = hardware.device != "cpu";
        let timed_by = if on_gpus {
            "device events"
        } else {
            "host clock"
        };
        let settings = results::Engine {
            max_model_len,
            max_num_seqs: config.max_num_seqs,
            max_num_batched_tokens: config.max_num_batched_tokens,
            block_size: config.block_size,
            num_kv_blocks: config.usable_blocks(),
            scheduler: config.policy.to_string(),
            prefix_cache: config.prefix_cache,
            cuda_graphs: on_gpus.then_some(options.cuda_graphs),
            dtype: dtype.as_str().to_owned(),
            kv_cache_dtype: kv_dtype_name(layout.dtype).to_owned(),
            activation_scheme: files.model.activation_scheme(),
            tp: options.tp,
            expert_parallel: options.expert_parallel,
            threads,
            pin_threads: options.pin_threads,
            rank_cpus,
            seed: options.seed,
            ranks: executor.memory().map_err(RunError::from)?,
            communication_share: None,
            timed_by: timed_by.to_owned(),
            server: None,
        };
        let start_up = results::StartUp {
            total_s: Some(clock.now().as_secs_f64()),
            ..start_up
        };
        progress.detail(&loaded(&settings, clock.now()));
        let engine = Engine::new(config, executor, clock).map_err(Wish::Engine)?;
        Ok(Session {
            kind,
            engine,
            model: describe_model(&files, weight_dtype),
            hardware,
            settings,
            start_up,
            probe,
            all_reduce,
            processes,
            files,
            progress: progress.clone(),
        })
    }
}

/// What was loaded, in a line.
fn loaded(settings: &results::Engine, time: Duration) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let ranks = settings.ranks.iter().map(|rank| {
        format!(
            "{}: weights {} MiB, KV {} MiB, workspace {} MiB",
            rank.name(),
            mib(rank.weights_bytes),
            mib(rank.kv_bytes),
            mib(rank.workspace_bytes)
        )
    });
    format!(
        "loaded in {:.2} s on {} threads; {}; {} KV blocks of {} tokens in {}",
        time.as_secs_f64(),
        settings.threads,
        ranks.collect::<Vec<_>>().join("; "),
        settings.num_kv_blocks,
        settings.block_size,
        settings.kv_cache_dtype
    )
}

pub fn describe_model(files: &ModelFiles, dtype: DType) -> results::Model {
    let (model, shape) = (&files.model, files.shape());
    results::Model {
        name: files.source.name.clone(),
        architecture: shape.family.clone(),
        parameters: model.parameters(),
        hidden_size: shape.hidden_size,
        intermediate_size: model.intermediate_size(),
        num_hidden_layers: shape.layers.len(),
        model_layers: files.model_layers,
        num_attention_heads: shape.num_attention_heads,
        num_key_value_heads: shape.num_key_value_heads(),
        head_dim: shape.head_dim,
        vocab_size: shape.vocab_size,
        weights: match files.source.weights {
            WeightFiles::Dummy { .. } => results::WeightSource::Dummy,
            _ => results::WeightSource::Checkpoint,
        },
        dtype: dtype.as_str().to_owned(),
        quantization: model.quantization(),
        assumptions: Vec::new(),
    }
}
