//! A published start-up as a question, and what may be answered.

use candlepower::Question;
use candlepower::fit::{CacheType, Engine, KvType, LlamaCpp, Release, Verdict};
use candlepower::shape::WeightType;
use serde::Deserialize;

use super::folder;

/// A row of `startups.json`. GiB are of one GPU, as logged; for llama.cpp of its first.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Case {
    pub id: String,
    pub outcome: String,
    pub engine: String,
    pub release: Option<String>,
    pub model: String,
    pub card: Option<String>,
    pub memory_gib: Option<f64>,
    pub gpus: usize,
    pub tp: usize,
    pub pp: usize,
    pub expert_parallel: bool,
    pub dtype: String,
    pub runtime_quantization: Option<String>,
    pub kv_cache_dtype: Option<String>,
    pub utilization: Option<f64>,
    pub max_model_len: Option<usize>,
    pub max_num_seqs: Option<usize>,
    pub max_num_batched_tokens: Option<usize>,
    pub eager: bool,
    /// Of llama.cpp.
    pub gpu_layers: Option<usize>,
    pub flash_attention: bool,
    pub cpu_moe_layers: usize,
    pub swa_full: bool,
    pub weights_gib: Option<f64>,
    pub non_torch_gib: Option<f64>,
    pub activations_gib: Option<f64>,
    pub graphs_gib: Option<f64>,
    pub kv_gib: Option<f64>,
    pub kv_tokens: Option<f64>,
    pub source: String,
    /// Why nobody could know what came out.
    pub spoiled: Option<String>,
}

impl Case {
    pub fn question(&self) -> Result<Question, String> {
        let engine = match &*self.engine {
            "vllm" => {
                let release = self.release.as_deref().map(Release::named).transpose();
                Engine::Vllm(
                    release
                        .map_err(|e| e.to_string())?
                        .unwrap_or(Release::USUAL),
                )
            }
            "sglang" => Engine::Sglang,
            "llama.cpp" => Engine::LlamaCpp(self.llama_cpp()),
            other => return Err(format!("nothing is known of {other}")),
        };
        let quantization = self.runtime_quantization.as_deref();
        let quantization = quantization.map(|how| how.parse().unwrap());
        let config = folder()
            .join("configs")
            .join(format!("{}.json", self.model.replace('/', "__")));
        let mut question = Question::new(config.display().to_string()).engine(engine);
        question.quantization = quantization;
        question.gpu = self.card.clone();
        question.gpu_memory = self.memory_gib;
        question.gpus = vec![self.gpus];
        question.tp = Some(self.tp);
        question.pp = self.pp;
        question.expert_parallel = self.expert_parallel;
        // SGLang starts with whatever its pool holds: a length that is only the model's is no wish.
        question.max_model_len = self.max_model_len.filter(|_| engine != Engine::Sglang);
        question.gpu_memory_utilization = self.utilization;
        question.max_num_seqs = self.max_num_seqs;
        question.max_num_batched_tokens = self.max_num_batched_tokens;
        question.cuda_graphs = !self.eager;
        question.dtype = (self.dtype == "fp32").then_some(WeightType::F32);
        if self.dtype == "fp16" {
            question.dtype = Some(WeightType::F16);
        }
        if self
            .kv_cache_dtype
            .as_deref()
            .is_some_and(|t| t.starts_with("fp8"))
        {
            question.kv_cache_dtype = KvType::Fp8;
        }
        Ok(question)
    }

    /// The logs are of builds that held attention scores whole unless they were told.
    fn llama_cpp(&self) -> LlamaCpp {
        let kv = self.kv_cache_dtype.as_deref().unwrap_or_default();
        let cache_types = match kv.contains("K q4_0") {
            true => [CacheType::Q4_0, CacheType::F16],
            false => [CacheType::F16; 2],
        };
        LlamaCpp {
            gpu_layers: self.gpu_layers,
            flash_attention: self.flash_attention,
            cpu_moe_layers: self.cpu_moe_layers,
            swa_full: self.swa_full,
            cache_types,
        }
    }

    pub fn judged(&self) -> Option<&'static [Verdict]> {
        use Verdict::*;
        Some(match self.outcome.as_str() {
            "ok" => &[Fits, RunsQueued],
            "fail_kv_too_small" => &[Len],
            "fail_no_kv_memory_or_oom" | "fail_no_kv_memory" => &[NoKv, NoWeights],
            "fail_oom_load" => &[NoWeights],
            "fail_oom_warmup" => &[GraphOom],
            "fail_oom_cublas" => &[NoWeights, NoKv, Len, GraphOom],
            "fail_divisibility_fp8_block" | "fail_divisibility_vocab" => &[Unsupported],
            "weights_only" | "fail_oom_kv_alloc" | "fail_free_below_budget" => return None,
            other => panic!("{}: the outcome {other} is not known", self.id),
        })
    }
}
