//! Every tensor a checkpoint of a `ModelSpec` must hold, with its name as Hugging Face writes it.

use std::fmt::Display;

use super::spec::ModelSpec;
use crate::shape::{Format, Role, TensorSpec};

pub const EMBEDDING: &str = "model.embed_tokens.weight";
pub const FINAL_NORM: &str = "model.norm.weight";
pub const HEAD: &str = "lm_head.weight";

/// `model.layers.{layer}.{suffix}`.
pub fn layer_name(layer: usize, suffix: impl Display) -> String {
    format!("model.layers.{layer}.{suffix}")
}

/// The bias beside the weight `name`.
pub fn bias_name(name: &str) -> String {
    name.trim_end_matches("weight").to_owned() + "bias"
}

/// All tensors of a model, layer by layer: large models have 70,000.
pub fn expected(spec: &ModelSpec) -> Vec<TensorSpec> {
    listed(spec, false)
}

/// The same where only bytes count: one tensor stands for the experts of a layer.
pub fn outline(spec: &ModelSpec) -> Vec<TensorSpec> {
    listed(spec, true)
}

fn listed(spec: &ModelSpec, in_one: bool) -> Vec<TensorSpec> {
    let h = spec.hidden_size;
    let mut list = List {
        spec,
        in_one,
        layer: None,
        tensors: Vec::new(),
    };
    let vocabulary = [spec.vocab_size, h];
    list.add(EMBEDDING.to_owned(), &vocabulary, Role::Embedding);
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
        list.add(HEAD.to_owned(), &vocabulary, Role::Head);
    }
    list.tensors
}

struct List<'a> {
    spec: &'a ModelSpec,
    /// One tensor stands for the experts of a layer.
    in_one: bool,
    /// Of the tensors that are added.
    layer: Option<usize>,
    tensors: Vec<TensorSpec>,
}

impl List<'_> {
    fn add(&mut self, name: String, shape: &[usize], role: Role) {
        self.tensors.push(TensorSpec {
            name,
            shape: shape.to_vec(),
            role,
            format: Format::Plain,
            layer: self.layer,
            expert: None,
            count: 1,
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
            self.projection(&module, shape, role);
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
                self.projection(&module, shape, role);
                self.bias(&module, shape[0], role, spec.mlp_bias);
            }
            return;
        };
        let router = layer_name(layer, "mlp.gate.weight");
        self.add(router, &[experts.num_experts, h], Role::Router);
        let (named, each) = match self.in_one {
            true => (1, experts.num_experts),
            false => (experts.num_experts, 1),
        };
        for expert in 0..named {
            for (name, shape, role) in gated(h, experts.moe_intermediate_size) {
                let module = layer_name(layer, format_args!("mlp.experts.{expert}.{name}"));
                let expert = Some(expert).filter(|_| !self.in_one);
                self.projections(&module, shape, role, expert, each);
            }
        }
    }

    /// The weight of `module`, and its scales where it is quantised.
    fn projection(&mut self, module: &str, shape: [usize; 2], role: Role) {
        self.projections(module, shape, role, None, 1);
    }

    /// Those of `count` modules alike.
    fn projections(
        &mut self,
        module: &str,
        shape: [usize; 2],
        role: Role,
        expert: Option<usize>,
        count: usize,
    ) {
        let weight = TensorSpec {
            name: format!("{module}.weight"),
            shape: shape.to_vec(),
            role,
            format: Format::Plain,
            layer: self.layer,
            expert,
            count,
        };
        match self.spec.fp8_block(module) {
            None => self.tensors.push(weight),
            Some(block) => self.tensors.extend(weight.in_fp8(shape, block)),
        }
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
