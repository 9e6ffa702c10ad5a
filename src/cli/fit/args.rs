//! Flags of `fit`.

use clap::{Args, ValueEnum};

use super::super::common::{DtypeFlag, KvDtypeFlag, OutputArgs};
use super::super::values;
use super::wish::RecommendArgs;
use crate::fit::{CacheType, Engine, LlamaCpp, LoadQuantization, Lora, Release};
use crate::session::{DEFAULT_MODEL, Question};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower fit --model QwQ-32B --gpu rtx4090-48g --gpus 2\n  \
    candlepower fit --model QwQ-32B --gpu rtx4090-48g --gpus 2,4,8 --concurrency 1000 --input-len 100 --output-len 601\n  \
    candlepower fit --model Qwen3-235B-A22B-FP8 --gpu l40s --gpus 8 --expert-parallel --engine vllm --explain\n  \
    candlepower fit --model ./config.json --gpu-memory 24 --kv-cache-dtype fp8 --json\n  \
    candlepower fit --recommend --model QwQ-32B --max-model-len 4096 --concurrency 50 --slo tpot:50\n\n\
    Exit codes: 0 it fits (of several --gpus, at least one number does), 3 it does not, 2 the question is wrong.\n\
    Ranks are tp x pp; GPUs beyond them are replicas. With a list of --gpus, --json prints an array.")]
pub struct FitArgs {
    /// Directory in Hugging Face layout, hub id (org/name, of GGUF files org/name:Q4_K_M), name of a card, config.json or
    /// GGUF file
    #[arg(long, default_value = DEFAULT_MODEL, value_name = "M", help_heading = "Model")]
    pub model: String,
    /// Keep only the first N decoder layers
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Model")]
    pub layers: Option<usize>,
    /// Arithmetic type of activations; auto is the checkpoint's
    #[arg(long, value_enum, default_value_t = DtypeFlag::Auto, help_heading = "Model")]
    pub dtype: DtypeFlag,

    /// Name from `candlepower gpus`, or a .toml file of a card of your own; with --recommend several, or all
    #[arg(
        long,
        value_name = "G",
        required_unless_present_any = ["gpu_memory", "recommend"],
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

    /// Whose memory: our own arena, or what vLLM, SGLang or llama.cpp would do [default: candlepower; with --recommend
    /// vllm, of a GGUF file llama.cpp]
    #[arg(long, value_enum, help_heading = "Engine")]
    pub engine: Option<EngineFlag>,
    /// Release whose rules and defaults apply, such as 0.10.2, or its month, such as 2025-09 [default: 0.10]
    #[arg(long, value_name = "V", value_parser = Release::named, help_heading = "Engine")]
    pub vllm_version: Option<&'static Release>,
    /// Prompt plus output tokens of one request [default: the model's]
    #[arg(long, value_name = "L", value_parser = values::positive, help_heading = "Engine")]
    pub max_model_len: Option<usize>,
    /// Share of a GPU's memory to use [default: 0.9; vllm: the release's; sglang: by card]
    #[arg(long, alias = "mem-fraction-static", value_name = "U", value_parser = values::fraction, help_heading = "Engine")]
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
    /// vLLM, SGLang: what is made of a 16-bit checkpoint while it is loaded, such as fp8 or bitsandbytes;
    /// llama.cpp: the type of a GGUF file of it, such as Q4_K_M
    #[arg(long, value_name = "Q", help_heading = "Engine")]
    pub quantization: Option<LoadQuantization>,
    /// vLLM: room for adapters (LoRA)
    #[arg(long, help_heading = "Engine")]
    pub enable_lora: bool,
    /// vLLM: adapters of one step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::positive, requires = "enable_lora", help_heading = "Engine")]
    pub max_loras: usize,
    /// vLLM: the largest rank of an adapter
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = values::positive, requires = "enable_lora", help_heading = "Engine")]
    pub max_lora_rank: usize,
    /// vLLM: the model that drafts tokens for this one to verify, as --model
    #[arg(long, value_name = "M", help_heading = "Engine")]
    pub speculative_model: Option<String>,
    /// vLLM: tokens that are drafted at a time, with such a model or without
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Engine")]
    pub num_speculative_tokens: Option<usize>,
    /// vLLM: GiB of weights of each GPU that stay in the host's memory
    #[arg(long, value_name = "GIB", value_parser = values::positive_number, help_heading = "Engine")]
    pub cpu_offload_gb: Option<f64>,

    /// llama.cpp: layers on GPUs, from the last; the head is one more [default: all]
    #[arg(long, alias = "ngl", value_name = "N", help_heading = "Engine")]
    pub n_gpu_layers: Option<usize>,
    /// llama.cpp: type of K in the cache, such as q8_0 [default: f16]
    #[arg(long, value_name = "T", help_heading = "Engine")]
    pub cache_type_k: Option<CacheType>,
    /// llama.cpp: type of V in the cache [default: f16]
    #[arg(long, value_name = "T", help_heading = "Engine")]
    pub cache_type_v: Option<CacheType>,
    /// llama.cpp: of so many layers, from the first, the experts stay in the host's memory
    #[arg(long, alias = "ncmoe", value_name = "N", help_heading = "Engine")]
    pub n_cpu_moe: Option<usize>,
    /// llama.cpp: layers with a window keep every token
    #[arg(long, help_heading = "Engine")]
    pub swa_full: bool,
    /// llama.cpp: attention scores are held whole
    #[arg(long, help_heading = "Engine")]
    pub no_flash_attn: bool,

    /// Requests that are wanted at once [default with --input-len or --output-len: 1]
    #[arg(long, value_name = "C", value_parser = values::positive, help_heading = "Load")]
    pub concurrency: Option<usize>,
    /// Prompt tokens of each [default: 100, as in the report's loads]
    #[arg(long, value_name = "I", value_parser = values::positive, help_heading = "Load")]
    pub input_len: Option<usize>,
    /// Output tokens of each [default: 601, as in the report's loads]
    #[arg(long, value_name = "O", value_parser = values::positive, help_heading = "Load")]
    pub output_len: Option<usize>,

    #[command(flatten)]
    pub recommend: RecommendArgs,

    /// Print the arithmetic line by line
    #[arg(long, help_heading = "Output")]
    pub explain: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl FitArgs {
    /// The first flag that was given and that only vLLM has.
    pub fn of_vllm(&self) -> Option<&'static str> {
        let given = [
            (self.vllm_version.is_some(), "--vllm-version"),
            (self.enable_lora, "--enable-lora"),
            (self.speculative_model.is_some(), "--speculative-model"),
            (
                self.num_speculative_tokens.is_some(),
                "--num-speculative-tokens",
            ),
            (self.cpu_offload_gb.is_some(), "--cpu-offload-gb"),
        ];
        given.into_iter().find(|flag| flag.0).map(|flag| flag.1)
    }

    /// The first flag that was given and that only llama.cpp has.
    pub fn of_llama_cpp(&self) -> Option<&'static str> {
        let given = [
            (self.n_gpu_layers.is_some(), "--n-gpu-layers"),
            (self.cache_type_k.is_some(), "--cache-type-k"),
            (self.cache_type_v.is_some(), "--cache-type-v"),
            (self.n_cpu_moe.is_some(), "--n-cpu-moe"),
            (self.swa_full, "--swa-full"),
            (self.no_flash_attn, "--no-flash-attn"),
        ];
        given.into_iter().find(|flag| flag.0).map(|flag| flag.1)
    }

    /// Its settings.
    pub fn llama_cpp(&self) -> LlamaCpp {
        let kind = |given: Option<CacheType>| given.unwrap_or(CacheType::F16);
        LlamaCpp {
            gpu_layers: self.n_gpu_layers,
            flash_attention: !self.no_flash_attn,
            cpu_moe_layers: self.n_cpu_moe.unwrap_or(0),
            swa_full: self.swa_full,
            cache_types: [kind(self.cache_type_k), kind(self.cache_type_v)],
        }
    }

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
        question.quantization = self.quantization;
        question.lora = self.enable_lora.then_some(Lora {
            adapters: self.max_loras,
            rank: self.max_lora_rank,
        });
        question.draft_model = self.speculative_model.clone();
        question.drafted_tokens = self.num_speculative_tokens.unwrap_or(0);
        question.cpu_offload_gib = self.cpu_offload_gb.unwrap_or(0.0);
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
    Sglang,
    #[value(name = "llama.cpp")]
    LlamaCpp,
}
