//! Flags that every command with an engine takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values;
use crate::fit::KvType;
use crate::model::WeightType;
use crate::parallel::AllReduce;
use crate::scheduler::Policy;
use crate::session::{ActivationScheme, DEFAULT_MODEL, EngineOptions};

#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Directory in Hugging Face layout, hub id (org/name), name of a card, or path of a config.json
    #[arg(long, short_alias = 'm', default_value = DEFAULT_MODEL, value_name = "M", help_heading = "Model")]
    pub model: String,
    /// Random weights at the model's shapes; no weight files are read
    #[arg(long, help_heading = "Model")]
    pub dummy_weights: bool,
    /// Keep only the first N decoder layers
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Model")]
    pub layers: Option<usize>,
    /// Arithmetic type of activations. On the CPU auto is f32; bf16 rounds them before they meet weights of bf16, twice as fast on
    /// processors that multiply bf16 (doctor says whether this one does)
    #[arg(long, value_enum, default_value_t = DtypeFlag::Auto, help_heading = "Model")]
    pub dtype: DtypeFlag,
    /// Inputs of layers whose weights are FP8: as they are, or quantised too [default: weight-only on the CPU, dynamic on sim:]
    #[arg(long, value_enum, value_name = "SCHEME", help_heading = "Model")]
    pub activation_scheme: Option<SchemeFlag>,

    /// cuda, cpu, or sim:<gpu>: a card of `candlepower gpus`, or a .toml file of one, in virtual time [default: cuda if usable, else cpu]
    #[arg(long, value_name = "D", help_heading = "Device")]
    pub device: Option<String>,
    /// Tensor-parallel ranks, which share the model's heads, features and vocabulary
    #[arg(long, alias = "tensor-parallel-size", value_name = "N", default_value_t = 1, value_parser = values::positive, help_heading = "Device")]
    pub tp: usize,
    /// Split experts whole over the ranks instead of by columns
    #[arg(long, alias = "enable-expert-parallel", help_heading = "Device")]
    pub expert_parallel: bool,
    /// CPU threads in all, shared among the ranks; at least one each [default: physical cores]
    #[arg(long, short_alias = 't', value_name = "N", value_parser = values::threads, help_heading = "Device")]
    pub threads: Option<usize>,
    /// Bind each CPU thread to a core of its own
    #[arg(long, help_heading = "Device")]
    pub pin_threads: bool,

    /// Prompt plus output tokens of one request [default: bench: its longest request; else the model's]
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Engine")]
    pub max_model_len: Option<usize>,
    /// Requests that run at a time [default: 256; with --server: vLLM's on that card]
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Engine")]
    pub max_num_seqs: Option<usize>,
    /// Tokens of one step [default: 2048; with --server: vLLM's on that card]
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Engine")]
    pub max_num_batched_tokens: Option<usize>,
    /// Tokens of one KV block
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = values::positive, help_heading = "Engine")]
    pub block_size: usize,
    /// Share of a GPU's memory to use, simulated ones included (no effect on the CPU)
    #[arg(long, value_name = "U", default_value_t = 0.9, value_parser = values::fraction, help_heading = "Engine")]
    pub gpu_memory_utilization: f64,
    /// Launch every kernel of a decode step by itself on a GPU, in place of one CUDA graph a step
    #[arg(long, alias = "enforce-eager", help_heading = "Engine")]
    pub no_cuda_graphs: bool,
    /// What adds up over GPUs: nccl, host (own kernels through host memory), p2p (own kernels into the other GPUs' memory), or auto, by message size as measured at the start
    #[arg(long, value_name = "WAY", default_value_t = AllReduce::Auto, help_heading = "Engine")]
    pub all_reduce: AllReduce,
    /// Memory of the KV cache of all ranks, such as 2G [default: what a GPU's memory leaves; on the CPU a quarter of what is available, at most 4G]
    #[arg(long, alias = "kv-cache-memory-bytes", value_name = "BYTES", value_parser = values::bytes, help_heading = "Engine")]
    pub kv_cache_memory: Option<u64>,
    /// Element type of the KV cache; auto is bf16 on the CPU, f32 for an f32 checkpoint; else the activations' type
    #[arg(long, value_enum, default_value_t = KvDtypeFlag::Auto, help_heading = "Engine")]
    pub kv_cache_dtype: KvDtypeFlag,
    /// mixed, prefill-first or reserve
    #[arg(long, value_name = "POLICY", default_value_t = Policy::Mixed, help_heading = "Engine")]
    pub scheduler: Policy,
    /// Reuse the KV blocks of equal prompt prefixes
    #[arg(long, alias = "enable-prefix-caching", help_heading = "Engine")]
    pub prefix_cache: bool,
    /// Seed of all randomness
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = values::seed, help_heading = "Engine")]
    pub seed: u64,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// No progress and no remarks on stderr
    #[arg(long, short, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More remarks on stderr
    #[arg(long, short)]
    pub verbose: bool,
    /// One JSON object on stdout and nothing else
    #[arg(long)]
    pub json: bool,
    /// Flags from a file: `tp = 2`, below them tables named after commands; the command line wins, then CANDLEPOWER_<FLAG>, then the file
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Print all flags as such a file and do nothing else
    #[arg(long)]
    pub print_config: bool,
}

impl CommonArgs {
    pub fn options(&self) -> EngineOptions {
        let mut options = EngineOptions::new(&self.model);
        options.dummy_weights = self.dummy_weights;
        options.layers = self.layers;
        options.dtype = self.dtype.weight_type();
        options.activation_scheme = self.activation_scheme.map(SchemeFlag::scheme);
        options.device = self.device.clone();
        options.tp = self.tp;
        options.expert_parallel = self.expert_parallel;
        options.threads = self.threads;
        options.pin_threads = self.pin_threads;
        options.max_model_len = self.max_model_len;
        options.max_num_seqs = self.max_num_seqs;
        options.max_num_batched_tokens = self.max_num_batched_tokens;
        options.block_size = self.block_size;
        options.gpu_memory_utilization = self.gpu_memory_utilization;
        options.cuda_graphs = !self.no_cuda_graphs;
        options.all_reduce = self.all_reduce;
        options.kv_cache_memory = self.kv_cache_memory;
        options.kv_cache_dtype = self.kv_cache_dtype.kv_type();
        options.scheduler = self.scheduler;
        options.prefix_cache = self.prefix_cache;
        options.seed = self.seed;
        options
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeFlag {
    Auto,
    #[value(alias = "bfloat16")]
    Bf16,
    #[value(aliases = ["float16", "fp16", "half"])]
    F16,
    #[value(aliases = ["float32", "fp32", "float"])]
    F32,
}

impl DtypeFlag {
    /// `None`: whatever the model says.
    pub fn weight_type(self) -> Option<WeightType> {
        match self {
            Self::Auto => None,
            Self::Bf16 => Some(WeightType::Bf16),
            Self::F16 => Some(WeightType::F16),
            Self::F32 => Some(WeightType::F32),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemeFlag {
    /// Activations keep their type
    WeightOnly,
    /// To FP8, each token's 128 columns (a block of the weight) by their own largest value
    Dynamic,
}

impl SchemeFlag {
    fn scheme(self) -> ActivationScheme {
        match self {
            Self::WeightOnly => ActivationScheme::WeightOnly,
            Self::Dynamic => ActivationScheme::Dynamic,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KvDtypeFlag {
    Auto,
    Bf16,
    F16,
    F32,
    Fp8,
}

impl KvDtypeFlag {
    pub fn kv_type(self) -> KvType {
        match self {
            Self::Auto => KvType::Auto,
            Self::Bf16 => KvType::Bf16,
            Self::F16 => KvType::F16,
            Self::F32 => KvType::F32,
            Self::Fp8 => KvType::Fp8,
        }
    }
}
