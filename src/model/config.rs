//! The keys of `config.json` as they are found in the wild, and their way into a `ModelSpec`.
//!
//! Defaults are those of Hugging Face transformers' configuration classes for each family.

use serde_json::Value;

use super::error::{SpecError, invalid};
use super::fields::Fields;
use super::quantization::QuantizationSpec;
use super::raw_rope::RawRope;
use super::spec::{Architecture, ExpertSpec, ModelSpec};
use crate::shape::WeightType;

/// `head_dim` of Qwen3 configs that do not state it.
const QWEN3_HEAD_DIM: usize = 128;
/// `max_window_layers` of Qwen configs that do not state it.
const QWEN_MAX_WINDOW_LAYERS: usize = 28;
/// `sliding_window` of Qwen configs that switch it on without a size.
const QWEN_SLIDING_WINDOW: usize = 4096;
const DEFAULT_NORM_EPS: f64 = 1e-6;
/// Sizes above this are taken for a damaged file: no tensor of that size could be addressed.
const LARGEST_SIZE: usize = 1 << 31;
/// Layers above this too; the deepest models known have some hundred.
const MOST_LAYERS: usize = 1 << 12;
/// Experts of all layers: twice those of the largest model known. Each has three tensors.
const MOST_EXPERTS: usize = 1 << 16;
/// A thousand times the largest models known.
const MOST_PARAMETERS: u128 = 1 << 51;

#[derive(Debug)]
pub(super) struct RawConfig {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope: RawRope,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    use_sliding_window: Option<bool>,
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    torch_dtype: Option<String>,
    dtype: Option<String>,
    quantization: Option<QuantizationSpec>,
    num_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    moe_intermediate_size: Option<usize>,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<usize>,
    mlp_only_layers: Option<Vec<usize>>,
    bos_token_id: Option<Value>,
    eos_token_id: Option<Value>,
}

impl RawConfig {
    pub fn read(fields: &Fields) -> Result<Self, SpecError> {
        Ok(Self {
            model_type: fields.text("model_type")?,
            architectures: fields.texts("architectures")?,
            hidden_size: fields.count("hidden_size")?,
            intermediate_size: fields.count("intermediate_size")?,
            num_hidden_layers: fields.count("num_hidden_layers")?,
            num_attention_heads: fields.count("num_attention_heads")?,
            num_key_value_heads: fields.count("num_key_value_heads")?,
            head_dim: fields.count("head_dim")?,
            vocab_size: fields.count("vocab_size")?,
            max_position_embeddings: fields.count("max_position_embeddings")?,
            rms_norm_eps: fields.number("rms_norm_eps")?,
            rope: RawRope::read(fields)?,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?,
            attention_bias: fields.flag("attention_bias")?,
            mlp_bias: fields.flag("mlp_bias")?,
            hidden_act: fields.text("hidden_act")?,
            use_sliding_window: fields.flag("use_sliding_window")?,
            sliding_window: fields.count("sliding_window")?,
            max_window_layers: fields.count("max_window_layers")?,
            layer_types: fields.texts("layer_types")?,
            torch_dtype: fields.text("torch_dtype")?,
            dtype: fields.text("dtype")?,
            quantization: QuantizationSpec::within(fields)?,
            num_experts: fields.count("num_experts")?,
            num_experts_per_tok: fields.count("num_experts_per_tok")?,
            moe_intermediate_size: fields.count("moe_intermediate_size")?,
            norm_topk_prob: fields.flag("norm_topk_prob")?,
            decoder_sparse_step: fields.count("decoder_sparse_step")?,
            mlp_only_layers: fields.counts("mlp_only_layers")?,
            bos_token_id: fields.value("bos_token_id").cloned(),
            eos_token_id: fields.value("eos_token_id").cloned(),
        })
    }

    pub fn into_spec(self, remarks: &mut Vec<String>, file: &str) -> Result<ModelSpec, SpecError> {
        let architecture = self.architecture(file)?;
        let size = |value: Option<usize>, key| required(value, key, file);
        let hidden_size = size(self.hidden_size, "hidden_size")?;
        let num_attention_heads = size(self.num_attention_heads, "num_attention_heads")?;
        let num_hidden_layers = size(self.num_hidden_layers, "num_hidden_layers")?;
        let head_dim = match (self.head_dim, architecture) {
            (Some(d), _) => size(Some(d), "head_dim")?,
            (None, Architecture::Qwen3 | Architecture::Qwen3Moe) => QWEN3_HEAD_DIM,
            (None, _) => hidden_size / num_attention_heads,
        };
        let qwen3 = matches!(architecture, Architecture::Qwen3 | Architecture::Qwen3Moe);
        let attention_bias = self.attention_bias.unwrap_or(false);
        let max_position_embeddings =
            size(self.max_position_embeddings, "max_position_embeddings")?;
        let spec = ModelSpec {
            architecture,
            hidden_size,
            intermediate_size: size(self.intermediate_size, "intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: size(
                self.num_key_value_heads.or(Some(num_attention_heads)),
                "num_key_value_heads",
            )?,
            head_dim,
            vocab_size: size(self.vocab_size, "vocab_size")?,
            max_position_embeddings,
            rms_norm_eps: self.rms_norm_eps.unwrap_or(DEFAULT_NORM_EPS),
            rope: self.rope.spec(max_position_embeddings, remarks, file)?,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: architecture == Architecture::Qwen2 || attention_bias,
            o_bias: architecture != Architecture::Qwen2 && attention_bias,
            mlp_bias: architecture == Architecture::Llama && self.mlp_bias.unwrap_or(false),
            qk_norm: qwen3,
            layer_windows: self.layer_windows(architecture, num_hidden_layers, file)?,
            weight_type: self.weight_type(file)?,
            experts: self.experts(architecture, file)?,
            quantization: self.quantization.clone(),
            bos_token_id: token_ids(self.bos_token_id, "bos_token_id", file)?
                .first()
                .copied(),
            eos_token_ids: token_ids(self.eos_token_id, "eos_token_id", file)?,
        };
        check(&spec, self.hidden_act.as_deref(), file)?;
        Ok(spec)
    }

    pub(super) fn architecture(&self, file: &str) -> Result<Architecture, SpecError> {
        let class = self.architectures.as_ref().and_then(|list| list.first());
        let by_class = class.map(|class| match class.as_str() {
            "LlamaForCausalLM" => Some(Architecture::Llama),
            "Qwen2ForCausalLM" => Some(Architecture::Qwen2),
            "Qwen3ForCausalLM" => Some(Architecture::Qwen3),
            "Qwen3MoeForCausalLM" => Some(Architecture::Qwen3Moe),
            _ => None,
        });
        let by_type = self.model_type.as_deref().map(|kind| match kind {
            "llama" => Some(Architecture::Llama),
            "qwen2" => Some(Architecture::Qwen2),
            "qwen3" => Some(Architecture::Qwen3),
            "qwen3_moe" => Some(Architecture::Qwen3Moe),
            _ => None,
        });
        let unknown = |found: &str| SpecError::Architecture {
            file: file.to_owned(),
            found: found.to_owned(),
        };
        // The class decides: a classifier or another family may share a model_type.
        match (class, by_class, by_type) {
            (Some(class), Some(None), _) => Err(unknown(class)),
            (_, Some(Some(architecture)), _) => Ok(architecture),
            (_, _, Some(Some(architecture))) => Ok(architecture),
            (_, _, Some(None)) => Err(unknown(self.model_type.as_deref().unwrap_or_default())),
            _ => Err(SpecError::Missing {
                file: file.to_owned(),
                key: "model_type",
            }),
        }
    }

    fn layer_windows(
        &self,
        architecture: Architecture,
        layers: usize,
        file: &str,
    ) -> Result<Vec<Option<usize>>, SpecError> {
        // Only Qwen configs have the switch, and their window fields mean nothing without it.
        if architecture == Architecture::Llama || self.use_sliding_window != Some(true) {
            return Ok(Vec::new());
        }
        let window = self.sliding_window.unwrap_or(QWEN_SLIDING_WINDOW);
        if window == 0 {
            return Err(invalid(
                file,
                "sliding_window",
                0,
                "a window has at least one token",
            ));
        }
        if let Some(types) = &self.layer_types {
            if types.len() < layers {
                return Err(invalid(
                    file,
                    "layer_types",
                    format!("{} entries", types.len()),
                    format!("there are {layers} layers"),
                ));
            }
            return types[..layers]
                .iter()
                .map(|kind| match kind.as_str() {
                    "full_attention" => Ok(None),
                    "sliding_attention" => Ok(Some(window)),
                    other => Err(invalid(
                        file,
                        "layer_types",
                        format!("{other:?}"),
                        "only full_attention and sliding_attention are supported",
                    )),
                })
                .collect();
        }
        let first = self.max_window_layers.unwrap_or(QWEN_MAX_WINDOW_LAYERS);
        Ok((0..layers)
            .map(|layer| (layer >= first).then_some(window))
            .collect())
    }

    fn weight_type(&self, file: &str) -> Result<Option<WeightType>, SpecError> {
        let Some(name) = self.dtype.as_deref().or(self.torch_dtype.as_deref()) else {
            return Ok(None);
        };
        match name.trim_start_matches("torch.") {
            "bfloat16" => Ok(Some(WeightType::Bf16)),
            "float16" | "half" => Ok(Some(WeightType::F16)),
            "float32" | "float" => Ok(Some(WeightType::F32)),
            "auto" => Ok(None),
            other => Err(invalid(
                file,
                "torch_dtype",
                format!("{other:?}"),
                "only bfloat16, float16 and float32 are supported",
            )),
        }
    }

    fn experts(
        &self,
        architecture: Architecture,
        file: &str,
    ) -> Result<Option<ExpertSpec>, SpecError> {
        if architecture != Architecture::Qwen3Moe {
            return Ok(None);
        }
        let size = |value: Option<usize>, key| required(value, key, file);
        Ok(Some(ExpertSpec {
            num_experts: size(self.num_experts, "num_experts")?,
            num_experts_per_tok: size(self.num_experts_per_tok, "num_experts_per_tok")?,
            moe_intermediate_size: size(self.moe_intermediate_size, "moe_intermediate_size")?,
            norm_topk_prob: self.norm_topk_prob.unwrap_or(false),
            decoder_sparse_step: self.decoder_sparse_step.unwrap_or(1),
            mlp_only_layers: self.mlp_only_layers.clone().unwrap_or_default(),
        }))
    }
}

fn required(value: Option<usize>, key: &'static str, file: &str) -> Result<usize, SpecError> {
    match value {
        None => Err(SpecError::Missing {
            file: file.to_owned(),
            key,
        }),
        Some(n) if n == 0 || n > LARGEST_SIZE => Err(invalid(
            file,
            key,
            n,
            "it must be a positive size below 2^31",
        )),
        Some(n) => Ok(n),
    }
}

/// A number in some files, a list in others.
fn token_ids(value: Option<Value>, key: &'static str, file: &str) -> Result<Vec<u32>, SpecError> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match &value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        Some(one) => id(one).map(|id| vec![id]),
    };
    ids.ok_or_else(|| {
        let found = value.unwrap_or_default();
        invalid(file, key, found, "it must be a token id or a list of them")
    })
}

fn check(spec: &ModelSpec, hidden_act: Option<&str>, file: &str) -> Result<(), SpecError> {
    if spec.num_hidden_layers > MOST_LAYERS || spec.count_parameters() > MOST_PARAMETERS {
        return Err(invalid(
            file,
            "num_hidden_layers",
            spec.num_hidden_layers,
            "with the other sizes that is no model's; the file is damaged",
        ));
    }
    if !spec
        .num_attention_heads
        .is_multiple_of(spec.num_key_value_heads)
    {
        return Err(invalid(
            file,
            "num_attention_heads",
            spec.num_attention_heads,
            format!(
                "it must be a multiple of num_key_value_heads ({})",
                spec.num_key_value_heads
            ),
        ));
    }
    if let Some(experts) = &spec.experts
        && experts.num_experts.saturating_mul(spec.num_hidden_layers) > MOST_EXPERTS
    {
        return Err(invalid(
            file,
            "num_experts",
            experts.num_experts,
            format!(
                "in {} layers that is no model's; the file is damaged",
                spec.num_hidden_layers
            ),
        ));
    }
    if let Some(experts) = &spec.experts
        && experts.num_experts_per_tok > experts.num_experts
    {
        return Err(invalid(
            file,
            "num_experts_per_tok",
            experts.num_experts_per_tok,
            format!("there are {} experts to choose from", experts.num_experts),
        ));
    }
    if spec.head_dim == 0 || !spec.head_dim.is_multiple_of(2) {
        return Err(invalid(
            file,
            "head_dim",
            spec.head_dim,
            "rotary embeddings need an even, positive head size",
        ));
    }
    if let Some(act) = hidden_act.filter(|&act| act != "silu" && act != "swish") {
        return Err(invalid(
            file,
            "hidden_act",
            format!("{act:?}"),
            "only silu is supported",
        ));
    }
    if !(spec.rms_norm_eps > 0.0 && spec.rms_norm_eps.is_finite()) {
        return Err(invalid(
            file,
            "rms_norm_eps",
            spec.rms_norm_eps,
            "it must be a small positive number",
        ));
    }
    Ok(())
}
