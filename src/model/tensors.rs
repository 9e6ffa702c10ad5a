//! Names, shapes and roles of every tensor a checkpoint of a `ModelSpec` must hold, as Hugging Face
//! writes them.

use std::fmt::Display;

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
    /// Scores of the experts: every rank routes every token.
    Router,
    Norm,
}

/// In what elements a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The checkpoint's own type: bf16, f16 or f32.
    Plain,
    /// One byte an element (e4m3), with a `Scale` beside it.
    Fp8,
    /// One factor for each block of a weight of shape `of`; the last blocks may be cut short.
    Scale { of: [usize; 2], block: [usize; 2] },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    /// Row-major; a projection is `[output features, input features]`.
    pub shape: Vec<usize>,
    pub role: Role,
    pub format: Format,
    /// `None` before and behind all layers.
    pub layer: Option<usize>,
    /// The expert whose weight this is.
    pub expert: Option<usize>,
}

impl TensorSpec {
    /// Bytes of an element in memory: vectors and scales are widened to f32, matrices keep the
    /// checkpoint's type of `matrix_bytes`.
    pub fn element_bytes(&self, matrix_bytes: usize) -> usize {
        match (self.format, self.shape.len()) {
            (Format::Fp8, _) => 1,
            (Format::Scale { .. }, _) | (Format::Plain, 1) => size_of::<f32>(),
            (Format::Plain, _) => matrix_bytes,
        }
    }
}

pub const EMBEDDING: &str = "model.embed_tokens.weight";
pub const FINAL_NORM: &str = "model.norm.weight";
pub const HEAD: &str = "lm_head.weight";
/// What a block-quantised weight's name goes on with for its scales (they multiply, as the name does not say).
pub(super) const SCALE_SUFFIX: &str = "_scale_inv";

/// `model.layers.{layer}.{suffix}`.
pub fn layer_name(layer: usize, suffix: impl Display) -> String {
    format!("model.layers.{layer}.{suffix}")
}

/// The bias beside the weight `name`.
pub fn bias_name(name: &str) -> String {
    name.trim_end_matches("weight").to_owned() + "bias"
}

/// The scales beside the weight `name`.
pub fn scale_name(name: &str) -> String {
    format!("{name}{SCALE_SUFFIX}")
}

/// All tensors of a model, layer by layer.
pub fn expected(spec: &ModelSpec) -> Vec<TensorSpec> {
    let mut tensors = Vec::new();
    each_expected(spec, &mut |tensor| tensors.push(tensor));
    tensors
}

/// Gives `sink` all tensors in the order of [`expected`]: large models have 70,000.
pub fn each_expected(spec: &ModelSpec, sink: &mut dyn FnMut(TensorSpec)) {
    let h = spec.hidden_size;
    let mut list = List {
        spec,
        layer: None,
        sink,
    };
    let vocabulary = [spec.vocab_size, h];
    list.add(EMBEDDING.to_owned(), &vocabulary, Role::Vocabulary);
    for layer in 0..spec.num_hidden_layers {
        list.layer = Some(layer);
        list.norm(layer, "input_layernorm", h);
        list.attention(layer);
        list.norm(layer, "post_attention_layernorm", h);
        list.mlp(layer);
    }
    list.layer = None;
    list.add(FINAL_NORM.to_owned(), &[h], Role::Norm);
    if !spec.tie_word_embeddings {
        list.add(HEAD.to_owned(), &vocabulary, Role::Vocabulary);
    }
}

struct List<'a> {
    spec: &'a ModelSpec,
    /// Of the tensors that are added.
    layer: Option<usize>,
    sink: &'a mut dyn FnMut(TensorSpec),
}

impl List<'_> {
    fn add(&mut self, name: String, shape: &[usize], role: Role) {
        (self.sink)(TensorSpec {
            name,
            shape: shape.to_vec(),
            role,
            format: Format::Plain,
            layer: self.layer,
            expert: None,
        });
    }

    fn norm(&mut self, layer: usize, name: &str, width: usize) {
        let name = layer_name(layer, format_args!("{name}.weight"));
        self.add(name, &[width], Role::Norm);
    }

    fn attention(&mut self, layer: usize) {
        let spec = self.spec;
        let (h, q, kv) = (spec.hidden_size, spec.q_size(), spec.kv_size());
        let projections = [
            ("q_proj", [q, h], spec.qkv_bias, Role::Query),
            ("k_proj", [kv, h], spec.qkv_bias, Role::KeyValue),
            ("v_proj", [kv, h], spec.qkv_bias, Role::KeyValue),
            ("o_proj", [h, q], spec.o_bias, Role::Output),
        ];
        for (name, shape, bias, role) in projections {
            let module = layer_name(layer, format_args!("self_attn.{name}"));
            self.projection(&module, shape, role, None);
            self.bias(&module, shape[0], role, bias);
        }
        if spec.qk_norm {
            self.norm(layer, "self_attn.q_norm", spec.head_dim);
            self.norm(layer, "self_attn.k_norm", spec.head_dim);
        }
    }

    fn mlp(&mut self, layer: usize) {
        let spec = self.spec;
        let h = spec.hidden_size;
        let sparse = spec.experts.as_ref().filter(|e| e.is_sparse(layer));
        let Some(experts) = sparse else {
            for (name, shape, role) in gated(h, spec.intermediate_size) {
                let module = layer_name(layer, format_args!("mlp.{name}"));
                self.projection(&module, shape, role, None);
                self.bias(&module, shape[0], role, spec.mlp_bias);
            }
            return;
        };
        let router = layer_name(layer, "mlp.gate.weight");
        self.add(router, &[experts.num_experts, h], Role::Router);
        for expert in 0..experts.num_experts {
            for (name, shape, role) in gated(h, experts.moe_intermediate_size) {
                let module = layer_name(layer, format_args!("mlp.experts.{expert}.{name}"));
                self.projection(&module, shape, role, Some(expert));
            }
        }
    }

    /// The weight of `module`, and its scales where it is quantised.
    fn projection(&mut self, module: &str, shape: [usize; 2], role: Role, expert: Option<usize>) {
        let block = self.spec.fp8_block(module);
        let mut add = |name: String, shape: [usize; 2], format| {
            (self.sink)(TensorSpec {
                name,
                shape: shape.to_vec(),
                role,
                format,
                layer: self.layer,
                expert,
            });
        };
        let weight = format!("{module}.weight");
        let Some(block) = block else {
            return add(weight, shape, Format::Plain);
        };
        let blocks = [0, 1].map(|axis| shape[axis].div_ceil(block[axis]));
        let scale = scale_name(&weight);
        add(weight, shape, Format::Fp8);
        add(scale, blocks, Format::Scale { of: shape, block });
    }

    fn bias(&mut self, module: &str, rows: usize, role: Role, there: bool) {
        let role = match role {
            Role::Output | Role::Down => Role::SumBias,
            role => role,
        };
        if there {
            self.add(format!("{module}.bias"), &[rows], role);
        }
    }
}

/// The projections of a gated MLP with `width` features inside.
fn gated(hidden: usize, width: usize) -> [(&'static str, [usize; 2], Role); 3] {
    [
        ("gate_proj", [width, hidden], Role::Up),
        ("up_proj", [width, hidden], Role::Up),
        ("down_proj", [hidden, width], Role::Down),
    ]
}
