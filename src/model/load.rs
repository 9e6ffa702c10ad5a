//! From a weight source to packed layers: which tensors make up which weight.

use candle_core::{Result, Tensor};

use super::decoder::Layer;
use super::spec::ModelSpec;
use super::tensors::layer_name;
use super::weights::{Matrix, WeightSource};
use crate::ops::{AttentionShape, HeadNorms, Kernels, Linear, Norm, WeightRows};

pub(super) fn attention_shape(spec: &ModelSpec, layer: usize) -> AttentionShape {
    AttentionShape {
        num_heads: spec.num_attention_heads,
        num_kv_heads: spec.num_key_value_heads,
        head_dim: spec.head_dim,
        window: spec.layer_window(layer),
    }
}

pub(super) struct Loader<'a> {
    spec: &'a ModelSpec,
    source: &'a dyn WeightSource,
    kernels: &'a dyn Kernels,
    progress: &'a mut dyn FnMut(u64),
    bytes: u64,
}

impl<'a> Loader<'a> {
    pub fn new(
        spec: &'a ModelSpec,
        source: &'a dyn WeightSource,
        kernels: &'a dyn Kernels,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self {
            spec,
            source,
            kernels,
            progress,
            bytes: 0,
        }
    }

    pub fn layer(&mut self, layer: usize) -> Result<Layer> {
        let spec = self.spec;
        let (h, i) = (spec.hidden_size, spec.intermediate_size);
        let (q, kv) = (spec.q_size(), spec.kv_size());
        let name = |suffix: &str| layer_name(layer, suffix);
        let head_norms = match spec.qk_norm {
            false => None,
            true => Some(HeadNorms {
                q: self.norm(&name("self_attn.q_norm.weight"), spec.head_dim)?,
                k: self.norm(&name("self_attn.k_norm.weight"), spec.head_dim)?,
            }),
        };
        let qkv = [
            (name("self_attn.q_proj.weight"), q),
            (name("self_attn.k_proj.weight"), kv),
            (name("self_attn.v_proj.weight"), kv),
        ];
        let gate_up = [
            (name("mlp.gate_proj.weight"), i),
            (name("mlp.up_proj.weight"), i),
        ];
        Ok(Layer {
            input_norm: self.norm(&name("input_layernorm.weight"), h)?,
            qkv: self.linear(&qkv, h, spec.qkv_bias)?,
            head_norms,
            o: self.linear(&[(name("self_attn.o_proj.weight"), h)], q, spec.o_bias)?,
            post_attention_norm: self.norm(&name("post_attention_layernorm.weight"), h)?,
            gate_up: self.linear(&gate_up, h, spec.mlp_bias)?,
            down: self.linear(&[(name("mlp.down_proj.weight"), h)], i, spec.mlp_bias)?,
            shape: attention_shape(spec, layer),
        })
    }

    pub fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm {
            weight: self.source.vector(name, width)?,
            eps: self.spec.rms_norm_eps as f32,
        })
    }

    /// Stacks `(weight name, rows)` parts of `columns` columns.
    pub fn linear(
        &mut self,
        parts: &[(String, usize)],
        columns: usize,
        bias: bool,
    ) -> Result<Linear> {
        let matrices = parts
            .iter()
            .map(|(name, rows)| Matrix::new(self.source, name.clone(), *rows, columns))
            .collect::<Result<Vec<_>>>()?;
        let bias = match bias {
            false => None,
            true => {
                let parts = parts
                    .iter()
                    .map(|(name, rows)| {
                        let name = name.trim_end_matches("weight").to_owned() + "bias";
                        self.source.vector(&name, *rows)
                    })
                    .collect::<Result<Vec<_>>>()?;
                Some(Tensor::cat(&parts, 0)?)
            }
        };
        let parts: Vec<&dyn WeightRows> = matrices.iter().map(|m| m as &dyn WeightRows).collect();
        let linear = self.kernels.pack(&parts, bias)?;
        self.bytes += linear.bytes();
        (self.progress)(self.bytes);
        Ok(linear)
    }
}
