//! The shape of a model: its tensors with their roles, and what its layers keep and compute. All that can be
//! known of a model's bytes and of its split over ranks is worked out from it, whether or not the engine runs
//! such a model.

mod layer;
mod tensor;
mod weight_type;

use std::sync::Arc;

pub use layer::{Experts, Kv, Layer, Mlp};
pub use tensor::{Format, Role, SCALE_SUFFIX, TensorSpec, scale_name};
pub use weight_type::WeightType;

/// How weights are quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// 8-bit floats (e4m3) in blocks of so many rows and columns, each with a scale.
    Fp8 { block: [usize; 2] },
}

/// Sizes are in elements. Cloning is cheap: the tensors, of which large models have 70,000, are shared.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelShape {
    pub hidden_size: usize,
    /// Query heads of every layer.
    pub num_attention_heads: usize,
    /// Of a query head.
    pub head_dim: usize,
    /// Rows of the embedding; may be padded above the tokenizer's size.
    pub vocab_size: usize,
    /// Longest context that the positions stand for: those of a stretched rotary embedding too.
    pub positions: usize,
    /// The embedding is the head.
    pub tie_word_embeddings: bool,
    /// Of weights that are not quantised; `None`: nobody said.
    pub weight_type: Option<WeightType>,
    pub quantization: Option<Quantization>,
    pub layers: Vec<Layer>,
    /// Every tensor of a checkpoint, layer by layer.
    pub tensors: Arc<[TensorSpec]>,
}

impl ModelShape {
    /// Elements of the KV cache that one token takes on each of `tp` ranks, over all layers.
    pub fn kv_elements_per_token(&self, tp: usize) -> usize {
        let layers = self.layers.iter();
        layers.map(|layer| layer.kv.elements_per_token(tp)).sum()
    }

    /// KV heads of the first layer.
    pub fn num_key_value_heads(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.kv.num_heads())
    }

    /// Features inside the dense MLPs, the widest where they differ; `None`: no layer has one.
    pub fn dense_width(&self) -> Option<usize> {
        let widths = self.layers.iter().filter_map(|layer| match layer.mlp {
            Mlp::Dense { width } => Some(width),
            Mlp::Experts(_) => None,
        });
        widths.max()
    }

    /// Of the first layer that has some; `None`: a dense model.
    pub fn experts(&self) -> Option<Experts> {
        self.layers.iter().find_map(|layer| layer.mlp.experts())
    }

    /// The same model with all its projections in FP8: none keeps its own type.
    pub fn in_fp8(&self, block: [usize; 2]) -> Self {
        let mut tensors = Vec::with_capacity(2 * self.tensors.len());
        for tensor in self.tensors.iter() {
            match tensor.shape[..] {
                [rows, columns] if tensor.role.is_projection() => {
                    tensors.extend(tensor.clone().in_fp8([rows, columns], block));
                }
                _ => tensors.push(tensor.clone()),
            }
        }
        Self {
            quantization: Some(Quantization::Fp8 { block }),
            tensors: tensors.into(),
            ..self.clone()
        }
    }
}
