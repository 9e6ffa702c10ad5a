//! What a program asks for: a model, a device and the engine's limits, as plain values with defaults.

use derive_setters::Setters;

use super::error::{SessionError, Wish};
use crate::exec::Server;
use crate::fit::KvType;
use crate::model::{StepLimits, WeightType};
use crate::parallel::AllReduce;
use crate::scheduler::Policy;

/// The model of whoever names none: a card, small enough for any machine.
pub const DEFAULT_MODEL: &str = "Qwen2.5-0.5B";
/// vLLM's defaults on a GPU under 70 GiB.
pub const DEFAULT_MAX_NUM_SEQS: usize = 256;
pub const DEFAULT_MAX_NUM_BATCHED_TOKENS: usize = 2048;
pub const DEFAULT_BLOCK_SIZE: usize = 16;
pub const DEFAULT_GPU_MEMORY_UTILIZATION: f64 = 0.9;
/// No machine serves more of anything that is counted: what is beyond it is a slip of the pen.
pub const LARGEST_COUNT: usize = 1 << 31;
/// More threads than any machine has cores.
pub const MOST_THREADS: usize = 4096;

/// What is done with the inputs of layers whose weights are FP8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationScheme {
    /// Activations keep their type.
    WeightOnly,
    /// To FP8, each token's 128 columns (a block of the weight) by their own largest value.
    Dynamic,
}

impl ActivationScheme {
    /// As the flag takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WeightOnly => "weight-only",
            Self::Dynamic => "dynamic",
        }
    }
}

/// A model, the device that runs it, and the limits of the engine around it.
///
/// Every field has a setter of its name; [`open`](Self::open) loads the model.
///
/// ```
/// use candlepower::EngineOptions;
///
/// let options = EngineOptions::new("Qwen2.5-0.5B").device("cpu").layers(2).max_num_seqs(8);
/// assert_eq!(options.tp, 1);
/// options.check().unwrap();
/// assert!(options.max_num_seqs(0).check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct EngineOptions {
    /// A directory in Hugging Face layout, a hub id (`org/name`), a card's name, or the path of a `config.json`.
    #[setters(into)]
    pub model: String,
    /// Random weights at the model's shapes; no weight files are read.
    pub dummy_weights: bool,
    /// Only the first so many decoder layers.
    pub layers: Option<usize>,
    /// Of activations; `None`: f32 on the CPU, on a GPU the checkpoint's.
    pub dtype: Option<WeightType>,
    /// `None`: `WeightOnly`, on a simulated card `Dynamic`.
    pub activation_scheme: Option<ActivationScheme>,
    /// `cpu`, `cuda` or `sim:<gpu>`; `None`: `cuda` where a GPU answers, else `cpu`.
    #[setters(into)]
    pub device: Option<String>,
    /// Tensor-parallel ranks.
    pub tp: usize,
    /// Experts whole on one rank each, instead of a part of each on every rank.
    pub expert_parallel: bool,
    /// CPU threads of all ranks of this machine, at least one each; `None`: one for each physical core.
    pub threads: Option<usize>,
    /// Each CPU thread on a core of its own.
    pub pin_threads: bool,
    /// Tokens of the longest request, prompt and output; `None`: the model's positions.
    pub max_model_len: Option<usize>,
    /// Requests that run at a time; `None`: 256, before a simulated card what its server takes.
    pub max_num_seqs: Option<usize>,
    /// Tokens of one step; `None`: 2,048, or likewise.
    pub max_num_batched_tokens: Option<usize>,
    /// Tokens of one KV block.
    pub block_size: usize,
    /// Share of a GPU's memory that may be used, above 0 and at most 1.
    pub gpu_memory_utilization: f64,
    /// Decode steps of a GPU are replayed as CUDA graphs.
    pub cuda_graphs: bool,
    /// What adds up over GPUs.
    pub all_reduce: AllReduce,
    /// Bytes of the KV caches of all ranks; `None`: what a GPU's memory leaves, on the CPU a quarter of what is
    /// available and at most 4 GiB.
    pub kv_cache_memory: Option<u64>,
    /// Element type of the KV cache.
    pub kv_cache_dtype: KvType,
    /// Who runs in a step.
    pub scheduler: Policy,
    /// Equal beginnings of prompts share their KV blocks.
    pub prefix_cache: bool,
    /// Of dummy weights and of what is drawn.
    pub seed: u64,
    /// Before a simulated card; `None`: its raw capacity.
    pub server: Option<Server>,
}

impl EngineOptions {
    /// `model` with every default.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            dummy_weights: false,
            layers: None,
            dtype: None,
            activation_scheme: None,
            device: None,
            tp: 1,
            expert_parallel: false,
            threads: None,
            pin_threads: false,
            max_model_len: None,
            max_num_seqs: None,
            max_num_batched_tokens: None,
            block_size: DEFAULT_BLOCK_SIZE,
            gpu_memory_utilization: DEFAULT_GPU_MEMORY_UTILIZATION,
            cuda_graphs: true,
            all_reduce: AllReduce::Auto,
            kv_cache_memory: None,
            kv_cache_dtype: KvType::Auto,
            scheduler: Policy::Mixed,
            prefix_cache: false,
            seed: 0,
            server: None,
        }
    }

    /// That every value is one that some machine could serve. Whether this machine and this model can is seen when
    /// they are looked at.
    ///
    /// # Errors
    /// A value out of its range, by the name of its flag.
    pub fn check(&self) -> Result<(), SessionError> {
        let counts = [
            ("tp", Some(self.tp)),
            ("layers", self.layers),
            ("max-model-len", self.max_model_len),
            ("max-num-seqs", self.max_num_seqs),
            ("max-num-batched-tokens", self.max_num_batched_tokens),
            ("block-size", Some(self.block_size)),
        ];
        let counts = counts.map(|(flag, value)| (flag, value, LARGEST_COUNT));
        let threads = ("threads", self.threads, MOST_THREADS);
        for (flag, value, most) in counts.into_iter().chain([threads]) {
            if let Some(value) = value
                && !(1..=most).contains(&value)
            {
                return Err(out_of_range(flag, value, format!("from 1 to {most}")));
            }
        }
        let share = self.gpu_memory_utilization;
        if !(share > 0.0 && share <= 1.0) {
            let rule = "above 0 and at most 1".to_owned();
            return Err(out_of_range("gpu-memory-utilization", share, rule));
        }
        if self.kv_cache_memory == Some(0) {
            return Err(out_of_range(
                "kv-cache-memory",
                0,
                "at least 1 byte".to_owned(),
            ));
        }
        Ok(())
    }

    /// The largest step that the limits allow.
    pub(crate) fn step_limits(&self) -> StepLimits {
        StepLimits {
            rows: self.tokens(),
            logit_rows: self.seqs().min(self.tokens()),
        }
    }

    /// Requests that run at a time.
    pub(crate) fn seqs(&self) -> usize {
        self.max_num_seqs.unwrap_or(DEFAULT_MAX_NUM_SEQS)
    }

    /// Tokens of one step.
    pub(crate) fn tokens(&self) -> usize {
        self.max_num_batched_tokens
            .unwrap_or(DEFAULT_MAX_NUM_BATCHED_TOKENS)
    }
}

fn out_of_range(flag: &'static str, value: impl ToString, rule: String) -> SessionError {
    Wish::OutOfRange {
        flag,
        value: value.to_string(),
        rule,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_nothing_could_serve_are_refused_by_name() {
        let options = EngineOptions::new("m");
        assert!(options.check().is_ok());
        let bad = [
            (options.clone().tp(0), "--tp 0"),
            (options.clone().layers(0), "--layers 0"),
            (
                options.clone().block_size(LARGEST_COUNT + 1),
                "--block-size",
            ),
            (options.clone().threads(MOST_THREADS + 1), "--threads 4097"),
            (options.clone().gpu_memory_utilization(f64::NAN), "NaN"),
            (options.clone().gpu_memory_utilization(1.5), "at most 1"),
            (options.kv_cache_memory(0), "--kv-cache-memory 0"),
        ];
        for (options, word) in bad {
            let error = options.check().unwrap_err();
            assert!(
                error.is_usage() && error.to_string().contains(word),
                "{error}"
            );
        }
    }
}
