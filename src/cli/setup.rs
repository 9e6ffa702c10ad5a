//! From flags to a loaded model and an engine around it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use candle_core::DType;

use super::common::{CommonArgs, DtypeFlag, KvDtypeFlag};
use super::failure::Failure;
use super::{memory_check, output, progress};
use crate::engine::Engine;
use crate::exec::{ExecError, Executor, KvLayout, Rank, Solo, Threads};
use crate::ground::results;
use crate::ground::{Clock, WallClock};
use crate::hub::{self, HubError, HubSettings, ModelSource, ResolveOptions, WeightFiles};
use crate::model::{
    Checkpoint, Decoder, DummyWeights, ModelSpec, StepLimits, WeightSource, WeightType, dummy,
};
use crate::ops::cpu::Cpu;
use crate::parallel;
use crate::scheduler::SchedulerConfig;
use crate::telemetry::{Memory, machine};
use crate::text::{TokenPool, Tokenizer};

/// The KV cache takes at most this much of a machine that was not asked.
const LARGEST_DEFAULT_KV: u64 = 4 << 30;
/// And at most one part in this many of the memory that is available.
const DEFAULT_KV_SHARE: u64 = 4;

/// The files and shapes of the model, before any weight is loaded.
pub struct ModelFiles {
    pub source: ModelSource,
    pub spec: ModelSpec,
    pub tokenizer: Option<Tokenizer>,
    /// Layers of the model, of which `spec` may keep fewer.
    pub model_layers: usize,
}

impl ModelFiles {
    pub fn find(args: &CommonArgs) -> Result<Self, Failure> {
        check_device(args).map_err(Failure::Usage)?;
        let options = ResolveOptions {
            dummy_weights: args.dummy_weights,
            progress: !args.output.quiet,
            settings: HubSettings::from_env(),
        };
        let source = hub::resolve(&args.model, &options).map_err(source_failure)?;
        let file = match &source.config_path {
            Some(path) => path.display().to_string(),
            None => format!("card {}", source.name),
        };
        let mut spec = ModelSpec::from_json(&source.config_json, &file).map_err(Failure::usage)?;
        spec.check_runnable(&file).map_err(Failure::usage)?;
        let model_layers = spec.num_hidden_layers;
        if let Some(layers) = args.layers {
            if layers > spec.num_hidden_layers {
                return Err(Failure::Usage(anyhow!(
                    "--layers {layers} is more than the {} layers of {file}; ask for at most those",
                    spec.num_hidden_layers
                )));
            }
            spec.truncate_layers(layers);
        }
        let tokenizer = match (&source.dir, source.tokenizer_json()) {
            (Some(dir), Some(_)) => Some(Tokenizer::load(dir).map_err(Failure::usage)?),
            _ => None,
        };
        Ok(Self {
            source,
            spec,
            tokenizer,
            model_layers,
        })
    }

    /// The name under which figures are compared.
    pub fn label(&self) -> String {
        let ran = self.spec.num_hidden_layers;
        results::setting::slice_label(&self.source.name, ran, self.model_layers)
    }

    /// Ids for synthetic prompts: ordinary text tokens where a tokenizer can tell.
    pub fn token_pool(&self) -> Result<TokenPool, Failure> {
        let vocab = self.spec.vocab_size as u32;
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.token_pool(vocab),
            None => TokenPool::below(vocab),
        }
        .map_err(Failure::usage)
    }

    /// Ids of `text`, or why there are none.
    pub fn encode(&self, text: &str, add_special: bool) -> anyhow::Result<Vec<u32>> {
        let Some(tokenizer) = &self.tokenizer else {
            bail!(
                "{} has no tokenizer.json, so text cannot be turned into tokens; give a model directory with one, or token ids",
                self.source.name
            );
        };
        let ids = tokenizer.encode(text, add_special)?;
        if ids.is_empty() {
            bail!("the prompt {text:?} has no tokens; give at least one");
        }
        let vocab = self.spec.vocab_size;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
            bail!(
                "token id {id} is outside the vocabulary of {vocab}; the tokenizer is not this model's"
            );
        }
        Ok(ids)
    }

    /// `--max-model-len`, else `default`, within the model's own positions.
    pub fn max_model_len(&self, args: &CommonArgs, default: usize) -> Result<usize, Failure> {
        let positions = self.spec.max_position_embeddings;
        let asked = args.max_model_len.unwrap_or(default);
        if asked > positions {
            return Err(Failure::Usage(anyhow!(
                "a length of {asked} tokens is beyond the {positions} positions of {}; lower --max-model-len or the prompt and output lengths",
                self.source.name
            )));
        }
        Ok(asked)
    }

    fn weight_source(&self, args: &CommonArgs) -> Result<(Box<dyn WeightSource>, DType), Failure> {
        let files = &self.source.weights;
        if !matches!(files, WeightFiles::Dummy { .. }) {
            let checkpoint = Checkpoint::open(files, &self.spec).map_err(Failure::usage)?;
            if !args.output.quiet {
                let remarks = checkpoint.warnings.iter();
                remarks.for_each(|warning| output::note(&format!("warning: {warning}")));
            }
            let dtype = checkpoint.weight_dtype();
            return Ok((Box::new(checkpoint), dtype));
        }
        let weight_type = self.spec.weight_type.unwrap_or(WeightType::Bf16);
        let source = DummyWeights {
            seed: args.seed,
            weight_type,
        };
        Ok((Box::new(source), dummy::dtype(weight_type)))
    }
}

/// A loaded engine and the words for it in a result.
pub struct Session {
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
        let spec = &files.spec;
        let limits = StepLimits {
            rows: args.max_num_batched_tokens,
            logit_rows: args.max_num_seqs.min(args.max_num_batched_tokens),
        };
        let room = memory_check::left_for_kv(
            spec,
            weight_dtype,
            limits,
            memory.available,
            &files.source.name,
        )
        .map_err(Failure::Usage)?;
        let layout = kv_layout(args, spec, kv_dtype, memory, room).map_err(Failure::Usage)?;
        let bar = progress::loading(
            spec.parameters() * weight_dtype.size_in_bytes() as u64,
            args.output.quiet,
        );
        let mut executor = Solo::load(threads, memory.total, spec.kv_elements_per_token(), || {
            let kernels = Cpu;
            let decoder = Decoder::load(spec, source.as_ref(), &kernels, limits, &mut |done| {
                bar.set_position(done);
            })?;
            Ok(Rank::new(
                Box::new(kernels),
                Box::new(parallel::Solo),
                decoder,
            ))
        })
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
            threads: threads.count,
            pin_threads: threads.pinned,
            seed: args.seed,
            ranks: executor.memory(),
            communication_share: None,
        };
        if args.output.verbose {
            output::note(&loaded(&settings, clock.now()));
        }
        let engine = Engine::new(config, Box::new(executor), clock).map_err(Failure::usage)?;
        Ok(Self {
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

/// A hub that fails is a failed run; anything else is a wrong name or file.
fn source_failure(error: HubError) -> Failure {
    match error.is_network() {
        true => Failure::run(error),
        false => Failure::usage(error),
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

fn check_device(args: &CommonArgs) -> anyhow::Result<()> {
    match args.device.as_deref() {
        None | Some("cpu") => {}
        Some("cuda") => {
            bail!("--device cuda needs a build with CUDA, and this one has none; use --device cpu")
        }
        Some(sim) if sim.starts_with("sim:") => {
            bail!("--device {sim}: the simulated device is not in this version; use --device cpu")
        }
        Some(other) => bail!("--device {other} is not a device; use --device cpu"),
    }
    if args.tp != 1 {
        bail!("--tp {}: this version runs one rank; use --tp 1", args.tp);
    }
    if args.expert_parallel {
        bail!(
            "--expert-parallel needs a mixture-of-experts model, and this version runs dense models only; leave it out"
        );
    }
    if matches!(args.dtype, DtypeFlag::Bf16 | DtypeFlag::F16) {
        bail!(
            "--dtype bf16 and f16 are for GPUs: the CPU kernels compute in f32; use --dtype auto or f32"
        );
    }
    Ok(())
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
    spec: &ModelSpec,
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
    let block_bytes =
        (args.block_size * spec.kv_elements_per_token() * dtype.size_in_bytes()) as u64;
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

fn describe_model(files: &ModelFiles, dtype: DType) -> results::Model {
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
        quantization: None,
    }
}
