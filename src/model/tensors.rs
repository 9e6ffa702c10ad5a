//! Names and shapes of every tensor a checkpoint of a `ModelSpec` must hold, as Hugging Face
//! writes them.

use super::spec::ModelSpec;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    /// Row-major; a projection is `[output features, input features]`.
    pub shape: Vec<usize>,
}

pub const EMBEDDING: &str = "model.embed_tokens.weight";
pub const FINAL_NORM: &str = "model.norm.weight";
pub const HEAD: &str = "lm_head.weight";

/// `model.layers.{layer}.{suffix}`.
pub fn layer_name(layer: usize, suffix: &str) -> String {
    format!("model.layers.{layer}.{suffix}")
}

/// All tensors of a dense model, layer by layer.
pub fn expected(spec: &ModelSpec) -> Vec<TensorSpec> {
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize]| {
        tensors.push(TensorSpec {
            name,
            shape: shape.to_vec(),
        });
    };
    let (h, i) = (spec.hidden_size, spec.intermediate_size);
    let (q, kv) = (spec.q_size(), spec.kv_size());
    add(EMBEDDING.to_owned(), &[spec.vocab_size, h]);
    for layer in 0..spec.num_hidden_layers {
        let mut add = |suffix: &str, shape: &[usize]| add(layer_name(layer, suffix), shape);
        add("input_layernorm.weight", &[h]);
        let projections = [
            ("self_attn.q_proj", q, h, spec.qkv_bias),
            ("self_attn.k_proj", kv, h, spec.qkv_bias),
            ("self_attn.v_proj", kv, h, spec.qkv_bias),
            ("self_attn.o_proj", h, q, spec.o_bias),
            ("mlp.gate_proj", i, h, spec.mlp_bias),
            ("mlp.up_proj", i, h, spec.mlp_bias),
            ("mlp.down_proj", h, i, spec.mlp_bias),
        ];
        for (name, rows, columns, bias) in projections {
            add(&format!("{name}.weight"), &[rows, columns]);
            if bias {
                add(&format!("{name}.bias"), &[rows]);
            }
        }
        if spec.qk_norm {
            add("self_attn.q_norm.weight", &[spec.head_dim]);
            add("self_attn.k_norm.weight", &[spec.head_dim]);
        }
        add("post_attention_layernorm.weight", &[h]);
    }
    add(FINAL_NORM.to_owned(), &[h]);
    if !spec.tie_word_embeddings {
        add(HEAD.to_owned(), &[spec.vocab_size, h]);
    }
    tensors
}
