//! Flags of `fit`.

use clap::{Args, ValueEnum};

use super::super::common::{DtypeFlag, KvDtypeFlag, OutputArgs};
use super::super::values;
use crate::fit::{Engine, Release};
use crate::session::{DEFAULT_MODEL, Question};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower fit --model QwQ-32B --gpu rtx4090-48g --gpus 2\n  \
    candlepower fit --model QwQ-32B --gpu rtx4090-48g --gpus 2,4,8 --concurrency 1000 --input-len 100 --output-len 601\n  \
    candlepower fit --model Qwen3-235B-A22B-FP8 --gpu l40s --gpus 8 --expert-parallel --engine vllm --explain\n  \
    candlepower fit --model ./config.json --gpu-memory 24 --kv-cache-dtype fp8 --json\n\n\
    Exit codes: 0 it fits (of several --gpus, at least one number does), 3 it does not, 2 the question is wrong.\n\
    Ranks are tp x pp; GPUs beyond them are replicas. With a list of --gpus, --json prints an array.")]
pub struct FitArgs {
    /// Directory in Hugging Face layout, hub id (org/name), name of a card, config.json or GGUF file
    #[arg(long, default_value = DEFAULT_MODEL, value_name = "M", help_heading = "Model")]
    pub model: String,
    /// Keep only the first N decoder layers
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Model")]
    pub layers: Option<usize>,
    /// Arithmetic type of activations; auto is the checkpoint's
    #[arg(long, value_enum, default_value_t = DtypeFlag::Auto, help_heading = "Model")]
    pub dtype: DtypeFlag,

    /// Name from `candlepower gpus`, or a .toml file of a card of your own
    #[arg(
        long,
        value_name = "G",
        required_unless_present = "gpu_memory",
        help_heading = "Hardware"
    )]
    pub gpu: Option<String>,
    /// Usable GiB of a card, instead of what --gpu has; alone: of a card with compute capability 8.9
    #[arg(long, value_name = "GIB", value_parser = values::positive_number, help_heading = "Hardware")]
    pub gpu_memory: Option<f64>,
    /// GPUs; several numbers are answered one by one [default: tp x pp]
    #[arg(long, value_name = "N[,N...]", value_delimiter = ',', value_parser = values::positive, help_heading = "Hardware")]
    pub gpus: Vec<usize>,
    /// Tensor-parallel ranks [default: --gpus / --pp]
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Hardware")]
    pub tp: Option<usize>,
    /// Pipeline stages
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::positive, help_heading = "Hardware")]
    pub pp: usize,
    /// Split experts whole over the ranks instead of by columns
    #[arg(long, help_heading = "Hardware")]
    pub expert_parallel: bool,

    /// Whose memory: our own arena, or what vLLM would do
    #[arg(long, value_enum, default_value_t = EngineFlag::Candlepower, help_heading = "Engine")]
    pub engine: EngineFlag,
    /// Release whose rules and defaults apply, such as 0.10.2, or its month, such as 2025-09 [default: 0.10]
    #[arg(long, value_name = "V", value_parser = Release::named, help_heading = "Engine")]
    pub vllm_version: Option<&'static Release>,
    /// Prompt plus output tokens of one request [default: the model's]
    #[arg(long, value_name = "L", value_parser = values::positive, help_heading = "Engine")]
    pub max_model_len: Option<usize>,
    /// Share of a GPU's memory to use [default: 0.9; vllm: the release's]
    #[arg(long, value_name = "U", value_parser = values::fraction, help_heading = "Engine")]
    pub gpu_memory_utilization: Option<f64>,
    /// Requests that run at a time [default: 256; vllm: the release's for the card]
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Engine")]
    pub max_num_seqs: Option<usize>,
    /// Tokens of one step [default: 2048; vllm: the release's for the card]
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Engine")]
    pub max_num_batched_tokens: Option<usize>,
    /// Tokens of one KV block
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = values::positive, help_heading = "Engine")]
    pub block_size: usize,
    /// Element type of the KV cache; auto is the activations' type
    #[arg(long, value_enum, default_value_t = KvDtypeFlag::Auto, help_heading = "Engine")]
    pub kv_cache_dtype: KvDtypeFlag,
    /// No CUDA graphs
    #[arg(long, help_heading = "Engine")]
    pub enforce_eager: bool,

    /// Requests that are wanted at once [default with --input-len or --output-len: 1]
    #[arg(long, value_name = "C", value_parser = values::positive, help_heading = "Load")]
    pub concurrency: Option<usize>,
    /// Prompt tokens of each [default: 100, as in the report's loads]
    #[arg(long, value_name = "I", value_parser = values::positive, help_heading = "Load")]
    pub input_len: Option<usize>,
    /// Output tokens of each [default: 601, as in the report's loads]
    #[arg(long, value_name = "O", value_parser = values::positive, help_heading = "Load")]
    pub output_len: Option<usize>,

    /// Print the arithmetic line by line
    #[arg(long, help_heading = "Output")]
    pub explain: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl FitArgs {
    /// Whatever `engine` answers it.
    pub fn question(&self, engine: Engine) -> Question {
        let mut question = Question::new(&self.model).engine(engine);
        question.layers = self.layers;
        question.dtype = self.dtype.weight_type();
        question.gpu = self.gpu.clone();
        question.gpu_memory = self.gpu_memory;
        question.gpus = self.gpus.clone();
        question.tp = self.tp;
        question.pp = self.pp;
        question.expert_parallel = self.expert_parallel;
        question.max_model_len = self.max_model_len;
        question.gpu_memory_utilization = self.gpu_memory_utilization;
        question.max_num_seqs = self.max_num_seqs;
        question.max_num_batched_tokens = self.max_num_batched_tokens;
        question.block_size = self.block_size;
        question.kv_cache_dtype = self.kv_cache_dtype.kv_type();
        question.cuda_graphs = !self.enforce_eager;
        question.concurrency = self.concurrency;
        question.input_len = self.input_len;
        question.output_len = self.output_len;
        question
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineFlag {
    Candlepower,
    Vllm,
}
