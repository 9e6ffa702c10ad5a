//! Names, shapes and roles of every tensor a checkpoint of a `ModelSpec` must hold, as Hugging Face
//! writes them.

use super::spec::ModelSpec;

/// What a tensor does in its layer: decides how ranks share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Embedding and head: a row for each token of the vocabulary.
    Vocabulary,
    /// Weight and bias of q: rows by attention head.
    Query,
    /// Weights and biases of k and v: rows by KV head.
    KeyValue,
    /// Weight of o: columns by attention head.
    Output,
    /// Weights and biases of gate and up: rows by intermediate feature.
    Up,
    /// Weight of down: columns by intermediate feature.
    Down,
    /// Bias of o or down, added once to the sum over ranks.
    SumBias,
    Norm,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    /// Row-major; a projection is `[output features, input features]`.
    pub shape: Vec<usize>,
    pub role: Role,
}

impl TensorSpec {
    /// Bytes of an element in memory: vectors are widened to f32, matrices keep the checkpoint's type of
    /// `matrix_bytes`.
    pub fn element_bytes(&self, matrix_bytes: usize) -> usize {
        match self.shape.len() {
            1 => size_of::<f32>(),
            _ => matrix_bytes,
        }
    }
}

pub const EMBEDDING: &str = "model.embed_tokens.weight";
pub const FINAL_NORM: &str = "model.norm.weight";
pub const HEAD: &str = "lm_head.weight";

/// `model.layers.{layer}.{suffix}`.
pub fn layer_name(layer: usize, suffix: &str) -> String {
    format!("model.layers.{layer}.{suffix}")
}

/// The bias beside the weight `name`.
pub fn bias_name(name: &str) -> String {
    name.trim_end_matches("weight").to_owned() + "bias"
}

/// All tensors of a dense model, layer by layer.
pub fn expected(spec: &ModelSpec) -> Vec<TensorSpec> {
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize], role| {
        tensors.push(TensorSpec {
            name,
            shape: shape.to_vec(),
            role,
        });
    };
    let (h, i) = (spec.hidden_size, spec.intermediate_size);
    let (q, kv) = (spec.q_size(), spec.kv_size());
    add(
        EMBEDDING.to_owned(),
        &[spec.vocab_size, h],
        Role::Vocabulary,
    );
    for layer in 0..spec.num_hidden_layers {
        let mut add = |suffix: &str, shape: &[usize], role| {
            add(layer_name(layer, suffix), shape, role);
        };
        add("input_layernorm.weight", &[h], Role::Norm);
        let projections = [
            ("self_attn.q_proj", q, h, spec.qkv_bias, Role::Query),
            ("self_attn.k_proj", kv, h, spec.qkv_bias, Role::KeyValue),
            ("self_attn.v_proj", kv, h, spec.qkv_bias, Role::KeyValue),
            ("self_attn.o_proj", h, q, spec.o_bias, Role::Output),
            ("mlp.gate_proj", i, h, spec.mlp_bias, Role::Up),
            ("mlp.up_proj", i, h, spec.mlp_bias, Role::Up),
            ("mlp.down_proj", h, i, spec.mlp_bias, Role::Down),
        ];
        for (name, rows, columns, bias, role) in projections {
            let weight = format!("{name}.weight");
            add(&weight, &[rows, columns], role);
            if bias {
                let role = match role {
                    Role::Output | Role::Down => Role::SumBias,
                    role => role,
                };
                add(&bias_name(&weight), &[rows], role);
            }
        }
        if spec.qk_norm {
            add("self_attn.q_norm.weight", &[spec.head_dim], Role::Norm);
            add("self_attn.k_norm.weight", &[spec.head_dim], Role::Norm);
        }
        add("post_attention_layernorm.weight", &[h], Role::Norm);
    }
    add(FINAL_NORM.to_owned(), &[h], Role::Norm);
    if !spec.tie_word_embeddings {
        add(HEAD.to_owned(), &[spec.vocab_size, h], Role::Vocabulary);
    }
    tensors
}
