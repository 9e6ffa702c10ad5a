//! `ModelSpec`: what a Hugging Face `config.json` says about shapes and switches, checked.

use serde::Serialize;

use super::error::SpecError;
use super::quantization::QuantizationSpec;
use super::rope::RopeSpec;
use crate::shape::WeightType;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    Qwen3Moe,
}

impl Architecture {
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3_moe",
        }
    }
}

/// Routed experts of a mixture-of-experts model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExpertSpec {
    pub num_experts: usize,
    pub num_experts_per_tok: usize,
    pub moe_intermediate_size: usize,
    pub norm_topk_prob: bool,
    pub decoder_sparse_step: usize,
    pub mlp_only_layers: Vec<usize>,
}

/// Shapes and switches of one decoder-only model.
///
/// Sizes are in elements. `q`, `k` and `v` projections have `num_attention_heads * head_dim` and
/// `num_key_value_heads * head_dim` rows: `head_dim` is explicit and need not be
/// `hidden_size / num_attention_heads`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelSpec {
    pub architecture: Architecture,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    /// Rows of the embedding; may be padded above the tokenizer's size.
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope: RopeSpec,
    pub tie_word_embeddings: bool,
    pub qkv_bias: bool,
    pub o_bias: bool,
    pub mlp_bias: bool,
    pub qk_norm: bool,
    /// Attention window in tokens (the token itself included) of each layer; `None` sees all.
    /// Empty when no layer has a window.
    pub layer_windows: Vec<Option<usize>>,
    /// As the config says; the checkpoint's tensors have the last word.
    pub weight_type: Option<WeightType>,
    pub experts: Option<ExpertSpec>,
    pub quantization: Option<QuantizationSpec>,
    pub bos_token_id: Option<u32>,
    pub eos_token_ids: Vec<u32>,
}

impl ModelSpec {
    /// Refuses weights in a layout whose tensors this version cannot name.
    pub fn check_runnable(&self, file: &str) -> Result<(), SpecError> {
        let unknown = self.quantization.as_ref().and_then(|q| q.unknown());
        match unknown {
            None => Ok(()),
            Some(method) => Err(SpecError::QuantisationUnknown {
                file: file.to_owned(),
                method,
            }),
        }
    }

    /// Rows and columns of the blocks in which the weight of `module`, a projection, is quantised to FP8;
    /// `None`: it is not.
    pub fn fp8_block(&self, module: &str) -> Option<[usize; 2]> {
        self.quantization.as_ref()?.block(module)
    }

    /// Keeps only the first `layers` decoder layers.
    pub fn truncate_layers(&mut self, layers: usize) {
        self.num_hidden_layers = self.num_hidden_layers.min(layers);
        self.layer_windows.truncate(layers);
    }

    /// Whether `layer` routes to experts rather than through one dense MLP.
    pub fn is_sparse(&self, layer: usize) -> bool {
        self.experts.as_ref().is_some_and(|e| e.is_sparse(layer))
    }

    pub fn layer_window(&self, layer: usize) -> Option<usize> {
        self.layer_windows.get(layer).copied().flatten()
    }

    /// Of the weights; bf16 where the config names none.
    pub fn weight_type_or_usual(&self) -> WeightType {
        self.weight_type.unwrap_or_default()
    }

    /// Rows of the q projection.
    pub fn q_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Rows of the k (and of the v) projection.
    pub fn kv_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// All parameters, counted once when the head is tied. Experts included.
    pub fn parameters(&self) -> u64 {
        // A spec with more than a u64 holds was refused when it was read.
        self.count_parameters() as u64
    }

    pub(super) fn count_parameters(&self) -> u128 {
        let size = |n: usize| n as u128;
        let h = size(self.hidden_size);
        let (q, kv) = (size(self.q_size()), size(self.kv_size()));
        let mut attention = h * (q + 2 * kv) + q * h;
        attention += if self.qkv_bias { q + 2 * kv } else { 0 };
        attention += if self.o_bias { h } else { 0 };
        attention += if self.qk_norm {
            2 * size(self.head_dim)
        } else {
            0
        };
        let layers: u128 = (0..self.num_hidden_layers)
            .map(|layer| attention + self.mlp_parameters(layer) + 2 * h)
            .sum();
        let vocab = size(self.vocab_size) * h;
        layers + h + vocab * if self.tie_word_embeddings { 1 } else { 2 }
    }

    fn mlp_parameters(&self, layer: usize) -> u128 {
        let h = self.hidden_size as u128;
        if let Some(experts) = &self.experts
            && experts.is_sparse(layer)
        {
            let one = 3 * h * experts.moe_intermediate_size as u128;
            return experts.num_experts as u128 * (one + h);
        }
        let i = self.intermediate_size as u128;
        3 * h * i + if self.mlp_bias { 2 * i + h } else { 0 }
    }
}

impl ExpertSpec {
    /// Whether `layer` routes to experts rather than through one dense MLP.
    pub fn is_sparse(&self, layer: usize) -> bool {
        !self.mlp_only_layers.contains(&layer)
            && self.num_experts > 0
            && (layer + 1).is_multiple_of(self.decoder_sparse_step.max(1))
    }
}
