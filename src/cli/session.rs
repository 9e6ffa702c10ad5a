//! From the files of a model to an engine around it, loaded.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use candle_core::DType;

use super::common::{ActivationScheme, CommonArgs, KvDtypeFlag};
use super::cuda;
use super::device::Device;
use super::failure::Failure;
use super::job::Job;
use super::loading::{Loaded, Loading};
use super::model_files::ModelFiles;
use super::output;
use crate::engine::Engine;
use crate::exec::{Executor, KvLayout};
use crate::ground::results;
use crate::ground::{Clock, WallClock};
use crate::hub::WeightFiles;
use crate::model::ModelSpec;
use crate::parallel::ShardPlan;
use crate::scheduler::SchedulerConfig;
use crate::telemetry::{GpuProbe, Memory, machine, memory};

/// The KV cache takes at most this much of a machine that was not asked.
const LARGEST_DEFAULT_KV: u64 = 4 << 30;
/// And at most one part in this many of the memory that is available.
const DEFAULT_KV_SHARE: u64 = 4;

/// A loaded engine and the words for it in a result.
pub struct Session {
    pub kind: results::Kind,
    pub engine: Engine,
    pub model: results::Model,
    pub hardware: results::Hardware,
    pub settings: results::Engine,
    /// Of the GPUs that are used.
    pub probe: Option<Arc<dyn GpuProbe>>,
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
    pub probe: Option<Arc<dyn GpuProbe>>,
}

impl Session {
    /// On the CPU or the GPUs of this machine, whichever the files were found for. The ranks are the processes of
    /// the `job`, or threads.
    pub fn of_this_machine(
        args: &CommonArgs,
        files: &ModelFiles,
        max_model_len: usize,
        job: Option<&Job>,
    ) -> Result<Self, Failure> {
        match (&files.device, job) {
            (Device::Cuda, None) => cuda::start(args, files, max_model_len),
            (Device::Cuda, Some(_)) => Err(Failure::Usage(anyhow!(
                "--device cuda works in one process, whatever --tp is; start it without mpirun or srun"
            ))),
            _ => Self::start(args, files, max_model_len, &memory(), job),
        }
    }

    /// Loads weights and allocates the KV cache, whose default size depends on `memory`.
    fn start(
        args: &CommonArgs,
        files: &ModelFiles,
        max_model_len: usize,
        memory: &Memory,
        job: Option<&Job>,
    ) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(WallClock::start());
        let plan = &files.plan;
        let ranks_here = match job {
            None => (0..plan.tp()).collect(),
            Some(job) => job.ranks_here(),
        };
        let loading = Loading::prepare(args, files, memory, &ranks_here)?;
        let weight_dtype = loading.weight_dtype;
        let kv_dtype = kv_dtype(args.kv_cache_dtype, weight_dtype);
        let layout = kv_layout(args, plan, ranks_here.len(), kv_dtype, memory, loading.room)
            .map_err(Failure::Usage)?;
        let bar = loading.bar.clone();
        let Loaded {
            mut executor,
            threads,
        } = match job {
            None => loading.start_threads(files, memory)?,
            Some(job) => job.lead(args, files, loading)?,
        };
        bar.finish_and_clear();
        executor.allocate_kv(&layout).map_err(Failure::usage)?;
        let hardware = results::Hardware {
            device: "cpu".to_owned(),
            name: machine().cpu.clone(),
            count: 1,
            memory_gib: machine().ram_gib,
            roofs: None,
        };
        let started = Started {
            kind: results::Kind::Measured,
            executor,
            threads,
            layout,
            max_model_len,
            clock,
            dtype: DType::F32,
            weight_dtype,
            hardware,
            probe: None,
        };
        Self::assemble(args, files, started)
    }

    /// An engine around what was loaded, and the words for it.
    pub fn assemble(
        args: &CommonArgs,
        files: &ModelFiles,
        started: Started,
    ) -> Result<Self, Failure> {
        let Started {
            kind,
            mut executor,
            threads,
            layout,
            max_model_len,
            clock,
            dtype,
            weight_dtype,
            hardware,
            probe,
        } = started;
        let config = SchedulerConfig {
            policy: args.scheduler,
            max_num_seqs: args.max_num_seqs,
            max_num_batched_tokens: args.max_num_batched_tokens,
            max_model_len,
            block_size: args.block_size,
            num_blocks: layout.num_blocks,
            prefix_cache: args.prefix_cache,
        };
        let settings = results::Engine {
            max_model_len,
            max_num_seqs: config.max_num_seqs,
            max_num_batched_tokens: config.max_num_batched_tokens,
            block_size: config.block_size,
            num_kv_blocks: config.usable_blocks(),
            scheduler: config.policy.to_string(),
            prefix_cache: config.prefix_cache,
            dtype: dtype.as_str().to_owned(),
            kv_cache_dtype: kv_dtype_name(layout.dtype).to_owned(),
            activation_scheme: activation_scheme(&files.spec),
            tp: args.tp,
            expert_parallel: args.expert_parallel,
            threads,
            pin_threads: args.pin_threads,
            seed: args.seed,
            ranks: executor.memory().map_err(Failure::run)?,
            communication_share: None,
            server: None,
        };
        if args.output.verbose {
            output::note(&loaded(&settings, clock.now()));
        }
        let engine = Engine::new(config, executor, clock).map_err(Failure::usage)?;
        Ok(Self {
            kind,
            engine,
            model: describe_model(files, weight_dtype),
            hardware,
            settings,
            probe,
        })
    }
}

/// What was loaded, in a line.
fn loaded(settings: &results::Engine, time: Duration) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let ranks = settings.ranks.iter().map(|rank| {
        format!(
            "rank {} on {}: weights {} MiB, KV {} MiB, workspace {} MiB",
            rank.rank,
            rank.device,
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

/// What the cache holds, where the weights are of type `weights`.
pub fn kv_dtype(flag: KvDtypeFlag, weights: DType) -> DType {
    match flag {
        KvDtypeFlag::Auto if weights == DType::F32 => DType::F32,
        KvDtypeFlag::Auto | KvDtypeFlag::Bf16 => DType::BF16,
        KvDtypeFlag::F16 => DType::F16,
        KvDtypeFlag::F32 => DType::F32,
        KvDtypeFlag::Fp8 => DType::F8E4M3,
    }
}

/// What is done with the inputs of FP8 layers, as the flag names it; `None`: there are none.
pub fn activation_scheme(spec: &ModelSpec) -> Option<String> {
    let quantization = spec.quantization.as_ref()?;
    let scheme = match quantization.quantize_activations {
        true => ActivationScheme::Dynamic,
        false => ActivationScheme::WeightOnly,
    };
    Some(scheme.name().to_owned())
}

/// As the flag names it.
pub fn kv_dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F8E4M3 => "fp8",
        other => other.as_str(),
    }
}

/// As many blocks as the memory holds, and the null block.
fn kv_layout(
    args: &CommonArgs,
    plan: &ShardPlan,
    ranks_here: usize,
    dtype: DType,
    memory: &Memory,
    room: u64,
) -> anyhow::Result<KvLayout> {
    let default = LARGEST_DEFAULT_KV.min(memory.available / DEFAULT_KV_SHARE);
    let budget = args.kv_cache_memory.unwrap_or(default.min(room));
    if budget > room {
        bail!(
            "--kv-cache-memory {budget} is more than the {room} bytes that weights and activations leave of the available memory; lower it"
        );
    }
    // Of all ranks that share this machine's memory.
    let elements = ranks_here * plan.kv_elements_per_token();
    let block_bytes = (args.block_size * elements * dtype.size_in_bytes()) as u64;
    let num_blocks = (budget / block_bytes) as usize;
    // The null block and one to use.
    if num_blocks < 2 {
        bail!(
            "a KV cache of {budget} bytes holds {num_blocks} blocks of {block_bytes} bytes, and at least 2 are needed; raise --kv-cache-memory or lower --block-size"
        );
    }
    Ok(KvLayout {
        num_blocks,
        block_size: args.block_size,
        dtype,
    })
}

pub fn describe_model(files: &ModelFiles, dtype: DType) -> results::Model {
    let spec = &files.spec;
    results::Model {
        name: files.source.name.clone(),
        architecture: spec.architecture.name().to_owned(),
        parameters: spec.parameters(),
        hidden_size: spec.hidden_size,
        intermediate_size: spec.intermediate_size,
        num_hidden_layers: spec.num_hidden_layers,
        model_layers: files.model_layers,
        num_attention_heads: spec.num_attention_heads,
        num_key_value_heads: spec.num_key_value_heads,
        head_dim: spec.head_dim,
        vocab_size: spec.vocab_size,
        weights: match files.source.weights {
            WeightFiles::Dummy { .. } => results::WeightSource::Dummy,
            _ => results::WeightSource::Checkpoint,
        },
        dtype: dtype.as_str().to_owned(),
        quantization: spec.quantization.as_ref().map(|q| q.method.clone()),
    }
}
