//! From the files of a model to an engine around it, loaded.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use candle_core::DType;

use super::common::{CommonArgs, KvDtypeFlag};
use super::failure::Failure;
use super::model_files::ModelFiles;
use super::{memory_check, output, progress};
use crate::engine::Engine;
use crate::exec::{ExecError, Executor, KvLayout, Rank, Ranks, Threads};
use crate::ground::results;
use crate::ground::{Clock, WallClock};
use crate::hub::WeightFiles;
use crate::model::{Decoder, Share, StepLimits};
use crate::ops::cpu::Cpu;
use crate::parallel::{Collective, ShardPlan};
use crate::scheduler::SchedulerConfig;
use crate::telemetry::{Memory, machine};

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
}

impl Session {
    /// Loads weights and allocates the KV cache, whose default size depends on `memory`.
    pub fn start(
        args: &CommonArgs,
        files: &ModelFiles,
        max_model_len: usize,
        memory: &Memory,
    ) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(WallClock::start());
        let threads = Threads {
            count: args.threads.unwrap_or_else(default_threads),
            pinned: args.pin_threads,
        };
        let (source, weight_dtype) = files.weight_source(args)?;
        let kv_dtype = kv_dtype(args.kv_cache_dtype, weight_dtype).map_err(Failure::Usage)?;
        let plan = &files.plan;
        let limits = StepLimits {
            rows: args.max_num_batched_tokens,
            logit_rows: args.max_num_seqs.min(args.max_num_batched_tokens),
        };
        let room = memory_check::left_for_kv(
            plan,
            weight_dtype,
            limits,
            memory.available,
            &files.source.name,
        )
        .map_err(Failure::Usage)?;
        let layout = kv_layout(args, plan, kv_dtype, memory, room).map_err(Failure::Usage)?;
        let bar = progress::loading(
            files.spec.parameters() * weight_dtype.size_in_bytes() as u64,
            args.output.quiet,
        );
        let build = {
            let (plan, bar) = (plan.clone(), bar.clone());
            move |collective: Box<dyn Collective>| {
                let rank = collective.rank();
                let share = Share { plan: &plan, rank };
                let mut progress = |bytes| bar.inc(bytes);
                let decoder = Decoder::load(share, source.as_ref(), &Cpu, limits, &mut progress)?;
                Ok(Rank::new(Box::new(Cpu), collective, decoder))
            }
        };
        let elements = plan.kv_elements_per_token();
        let mut executor = Ranks::load(plan.tp(), threads, memory.total, elements, Arc::new(build))
            .map_err(|error| match error {
                ExecError::Pin(_) => Failure::usage(error),
                _ => Failure::run(error),
            })?;
        bar.finish_and_clear();
        executor.allocate_kv(&layout).map_err(Failure::usage)?;
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
            dtype: "f32".to_owned(),
            kv_cache_dtype: kv_dtype.as_str().to_owned(),
            tp: args.tp,
            expert_parallel: args.expert_parallel,
            threads: threads.count.max(plan.tp()),
            pin_threads: threads.pinned,
            seed: args.seed,
            ranks: executor.memory().map_err(Failure::run)?,
            communication_share: None,
            server: None,
        };
        if args.output.verbose {
            output::note(&loaded(&settings, clock.now()));
        }
        let engine = Engine::new(config, Box::new(executor), clock).map_err(Failure::usage)?;
        Ok(Self {
            kind: results::Kind::Measured,
            engine,
            model: describe_model(files, weight_dtype),
            hardware: results::Hardware {
                device: "cpu".to_owned(),
                name: machine().cpu.clone(),
                count: 1,
                memory_gib: machine().ram_gib,
                roofs: None,
            },
            settings,
        })
    }
}

/// Physical cores, as far as this process may use them.
fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    machine().cores.min(allowed)
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

fn kv_dtype(flag: KvDtypeFlag, weights: DType) -> anyhow::Result<DType> {
    match flag {
        KvDtypeFlag::Auto if weights == DType::F32 => Ok(DType::F32),
        KvDtypeFlag::Auto | KvDtypeFlag::Bf16 => Ok(DType::BF16),
        KvDtypeFlag::F16 => Ok(DType::F16),
        KvDtypeFlag::F32 => Ok(DType::F32),
        KvDtypeFlag::Fp8 => {
            bail!("--kv-cache-dtype fp8 is not in this version; use auto, bf16, f16 or f32")
        }
    }
}

/// As many blocks as the memory holds, and the null block.
fn kv_layout(
    args: &CommonArgs,
    plan: &ShardPlan,
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
    // Of all ranks: they share this machine's memory.
    let elements = plan.tp() * plan.kv_elements_per_token();
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
