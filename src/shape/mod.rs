//! The shape of a model: its tensors with their roles, and what its layers keep and compute. All that can be
//! known of a model's bytes and of its split over ranks is worked out from it, whether or not the engine runs
//! such a model.

mod error;
mod family;
pub mod gguf;
mod headers;
mod keys;
mod layer;
mod quantization;
mod quantizer;
pub mod reading;
mod tensor;
mod weight_type;

use std::sync::Arc;

pub use error::ShapeError;
pub use layer::{Compressed, Experts, Heads, Kv, Layer, Mlp, State};
pub use quantization::{Code, Method, Quantization, Scheme};
pub use tensor::{Format, Role, SCALE_SUFFIX, TensorSpec, scale_name};
pub use weight_type::WeightType;

/// Sizes are in elements. Cloning is cheap: the tensors, of which large models have 70,000, are shared.
///
/// The engine's own list names each tensor of a checkpoint. Whoever only counts bytes makes one entry stand for
/// the experts of a layer ([`TensorSpec::count`]), and one for all that a layer has of a role, where headers told
/// its bytes ([`Format::Packed`]).
#[derive(Debug, Clone, PartialEq)]
pub struct ModelShape {
    /// As its configuration names it: `model_type`.
    pub family: String,
    pub hidden_size: usize,
    /// Query heads of a layer; where they differ, of the one with the most.
    pub num_attention_heads: usize,
    /// Of a query head.
    pub head_dim: usize,
    /// Rows of the embedding; may be padded above the tokenizer's size.
    pub vocab_size: usize,
    /// Norms of the hidden size in each layer, beside those within attention. One: its attention and its MLP read the
    /// same.
    pub norms: usize,
    /// Copies of the residual, each with values of its own (hyper-connections); 1: there is one.
    pub streams: usize,
    /// Longest context that the positions stand for: those of a stretched rotary embedding too.
    pub positions: usize,
    /// Rows of the tables of sines and cosines that other engines make.
    pub rotary_rows: usize,
    /// The embedding is the head.
    pub tie_word_embeddings: bool,
    /// Of weights that are not quantised; `None`: nobody said.
    pub weight_type: Option<WeightType>,
    pub quantization: Option<Quantization>,
    /// The checkpoint states scales of a KV cache in FP8.
    pub kv_in_fp8: bool,
    pub layers: Vec<Layer>,
    /// Every tensor of a checkpoint, layer by layer.
    pub tensors: Arc<[TensorSpec]>,
    /// Of a tower; `None`: there is none, or none that takes images of one size alone.
    pub images: Option<Images>,
    /// What was taken for granted: sentences for whoever reads an answer.
    pub assumptions: Vec<String>,
}

/// Images as a tower takes them that scales each to one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Images {
    /// Of the decoder, for each.
    pub tokens: usize,
    /// Of each.
    pub patches: usize,
    /// Features of a patch, and inside of an MLP.
    pub hidden_size: usize,
    pub intermediate_size: usize,
}

impl ModelShape {
    /// Elements of the KV cache that one token takes on each of `tp` ranks, over all layers.
    pub fn kv_elements_per_token(&self, tp: usize) -> usize {
        let layers = self.layers.iter();
        layers.map(|layer| layer.kv.elements_per_token(tp)).sum()
    }

    /// Bytes of it, where an element takes `element`.
    pub fn kv_bytes_per_token(&self, tp: usize, element: usize) -> usize {
        let layers = self.layers.iter();
        layers
            .map(|layer| layer.kv.bytes_per_token(tp, element))
            .sum()
    }

    /// Bytes that one sequence takes on each of `tp` ranks whatever its length, over all layers, where an
    /// activation takes `element` bytes.
    pub fn state_bytes_per_sequence(&self, tp: usize, element: usize) -> usize {
        let states = self.layers.iter().filter_map(|layer| layer.state);
        states.map(|state| state.bytes(tp, element)).sum()
    }

    /// KV heads of the first layer that has some; where K and V are one latent, attention heads.
    pub fn num_key_value_heads(&self) -> usize {
        let mut layers = self.layers.iter();
        let heads = layers.find_map(|layer| layer.kv.num_heads());
        heads.unwrap_or(self.num_attention_heads)
    }

    /// Features inside the dense MLPs, the widest where they differ; `None`: no layer has one.
    pub fn dense_width(&self) -> Option<usize> {
        let widths = self.layers.iter().filter_map(|layer| match layer.mlp {
            Mlp::Dense { width } => Some(width).filter(|&width| width > 0),
            Mlp::Experts(_) => None,
        });
        widths.max()
    }

    /// Of the first layer that has some; `None`: a dense model.
    pub fn experts(&self) -> Option<Experts> {
        self.layers.iter().find_map(|layer| layer.mlp.experts())
    }

    /// Only the first so many layers.
    pub fn keep_layers(&mut self, layers: usize) {
        self.layers.truncate(layers);
        let kept = |tensor: &&TensorSpec| tensor.layer.is_none_or(|layer| layer < layers);
        self.tensors = self.tensors.iter().filter(kept).cloned().collect();
    }

    /// The same model with all its projections in FP8: none keeps its own type.
    pub fn in_fp8(&self, block: [usize; 2]) -> Self {
        let mut tensors = Vec::with_capacity(2 * self.tensors.len());
        for tensor in self.tensors.iter() {
            match tensor.shape[..] {
                [rows, columns] if tensor.role.is_projection() => {
                    tensors.extend(tensor.clone().in_fp8([rows, columns], block));
                }
                _ if tensor.role.is_projection() && tensor.format == Format::Loose => {
                    let elements = tensor.elements().max(1);
                    let scales =
                        size_of::<f32>() as u64 * elements / (block[0] * block[1]).max(1) as u64;
                    let bytes = elements + scales;
                    let format = Format::Packed { elements, bytes };
                    tensors.push(TensorSpec {
                        format,
                        ..tensor.clone()
                    });
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
