//! The shape of a `ModelSpec`: all that is read of it where nothing is computed.

use super::spec::ModelSpec;
use super::tensors::{expected, outline};
use crate::shape::{Experts, Heads, Kv, Layer, Mlp, ModelShape, TensorSpec};

/// Before attention and before the MLP.
const NORMS: usize = 2;

impl ModelSpec {
    /// Of the model as it stands: what is changed of it later is not seen.
    pub fn shape(&self) -> ModelShape {
        self.with(expected(self))
    }

    /// The same where only bytes count: one tensor stands for the experts of a layer.
    pub fn outline(&self) -> ModelShape {
        self.with(outline(self))
    }

    fn with(&self, tensors: Vec<TensorSpec>) -> ModelShape {
        ModelShape {
            family: self.architecture.name().to_owned(),
            hidden_size: self.hidden_size,
            num_attention_heads: self.num_attention_heads,
            head_dim: self.head_dim,
            vocab_size: self.vocab_size,
            norms: NORMS,
            streams: 1,
            positions: self.positions(),
            rotary_rows: self.positions(),
            tie_word_embeddings: self.tie_word_embeddings,
            weight_type: self.weight_type,
            quantization: self.quantization.as_ref().and_then(|q| q.in_short()),
            kv_in_fp8: false,
            layers: self.layers().collect(),
            tensors: tensors.into(),
            images: None,
            assumptions: Vec::new(),
        }
    }

    /// Elements that one token adds to the KV cache over all layers (K and V).
    pub fn kv_elements_per_token(&self) -> usize {
        let layers = self.layers();
        layers.map(|layer| layer.kv.elements_per_token(1)).sum()
    }

    fn layers(&self) -> impl Iterator<Item = Layer> {
        (0..self.num_hidden_layers).map(|layer| Layer {
            kv: self.kv(layer),
            state: None,
            mlp: self.mlp(layer),
        })
    }

    fn kv(&self, layer: usize) -> Kv {
        let heads = Heads::alike(self.num_key_value_heads, self.head_dim);
        match self.layer_window(layer) {
            None => Kv::Full(heads),
            Some(window) => Kv::Window { heads, window },
        }
    }

    fn mlp(&self, layer: usize) -> Mlp {
        match self.experts.as_ref().filter(|e| e.is_sparse(layer)) {
            None => Mlp::Dense {
                width: self.intermediate_size,
            },
            Some(experts) => Mlp::Experts(Experts {
                count: experts.num_experts,
                per_token: experts.num_experts_per_tok,
                width: experts.moe_intermediate_size,
            }),
        }
    }

    fn positions(&self) -> usize {
        let written = self.max_position_embeddings;
        written.max(self.rope.stretched_positions(written) as usize)
    }
}
