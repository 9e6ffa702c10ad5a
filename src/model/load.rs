//! From a weight source to packed layers: which tensors make up which weight.

use candle_core::{Result, Tensor, bail};

use super::decoder::Layer;
use super::spec::ModelSpec;
use super::tensors::{bias_name, layer_name};
use super::weights::{Matrix, WeightSource};
use crate::ops::{AttentionShape, HeadNorms, Kernels, Linear, Norm, WeightRows};
use crate::parallel::shard::{RankShape, ShardPlan, Slice, TensorPlan};

pub(super) fn attention_shape(spec: &ModelSpec, shape: &RankShape, layer: usize) -> AttentionShape {
    AttentionShape {
        num_heads: shape.num_heads,
        num_kv_heads: shape.num_kv_heads,
        head_dim: spec.head_dim,
        window: spec.layer_window(layer),
    }
}

/// One rank's share of a split model.
#[derive(Debug, Clone, Copy)]
pub struct Share<'a> {
    pub plan: &'a ShardPlan,
    pub rank: usize,
}

impl<'a> Share<'a> {
    pub fn spec(&self) -> &'a ModelSpec {
        self.plan.spec()
    }

    pub fn shape(&self) -> RankShape {
        self.plan.rank_shape(self.rank)
    }

    /// What this rank holds of a tensor; `None`: nothing of it, or the model has no such tensor.
    fn find(&self, name: &str) -> Option<(&'a TensorPlan, Slice)> {
        let plan = self.plan.tensor(name)?;
        Some((plan, plan.slice(self.rank)?))
    }
}

pub(super) struct Loader<'a> {
    share: Share<'a>,
    source: &'a dyn WeightSource,
    kernels: &'a dyn Kernels,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Loader<'a> {
    /// `progress` is told the bytes of each packed weight.
    pub fn new(
        share: Share<'a>,
        source: &'a dyn WeightSource,
        kernels: &'a dyn Kernels,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self {
            share,
            source,
            kernels,
            progress,
        }
    }

    pub fn layer(&mut self, layer: usize) -> Result<Layer> {
        let name = |suffix: &str| layer_name(layer, suffix);
        let head_norms = match self.share.spec().qk_norm {
            false => None,
            true => Some(HeadNorms {
                q: self.norm(&name("self_attn.q_norm.weight"))?,
                k: self.norm(&name("self_attn.k_norm.weight"))?,
            }),
        };
        let qkv = ["q", "k", "v"].map(|part| name(&format!("self_attn.{part}_proj.weight")));
        let gate_up = ["gate", "up"].map(|part| name(&format!("mlp.{part}_proj.weight")));
        Ok(Layer {
            input_norm: self.norm(&name("input_layernorm.weight"))?,
            qkv: self.linear(&qkv)?,
            head_norms,
            o: self.linear(&[name("self_attn.o_proj.weight")])?,
            post_attention_norm: self.norm(&name("post_attention_layernorm.weight"))?,
            gate_up: self.linear(&gate_up)?,
            down: self.linear(&[name("mlp.down_proj.weight")])?,
            shape: attention_shape(self.share.spec(), &self.share.shape(), layer),
        })
    }

    pub fn norm(&mut self, name: &str) -> Result<Norm> {
        let Some(weight) = self.vector(name)? else {
            bail!("the model has no norm {name}");
        };
        Ok(Norm {
            weight,
            eps: self.share.spec().rms_norm_eps as f32,
        })
    }

    /// Stacks this rank's parts of the named weights and of their biases, if it holds any.
    pub fn linear(&mut self, names: &[String]) -> Result<Linear> {
        let matrix = |name: &String| match self.share.find(name) {
            Some((plan, slice)) => Matrix::new(self.source, plan, slice),
            None => bail!("the model has no weight {name}"),
        };
        let matrices = names.iter().map(matrix).collect::<Result<Vec<_>>>()?;
        let biases = names
            .iter()
            .filter_map(|name| self.vector(&bias_name(name)).transpose())
            .collect::<Result<Vec<_>>>()?;
        let bias = match biases.is_empty() {
            true => None,
            false => Some(Tensor::cat(&biases, 0)?),
        };
        let parts: Vec<&dyn WeightRows> = matrices.iter().map(|m| m as &dyn WeightRows).collect();
        let linear = self.kernels.pack(&parts, bias)?;
        (self.progress)(linear.bytes());
        Ok(linear)
    }

    fn vector(&self, name: &str) -> Result<Option<Tensor>> {
        let Some((plan, slice)) = self.share.find(name) else {
            return Ok(None);
        };
        let vector = self
            .source
            .vector(name, plan.tensor.shape[0], slice.range)?;
        Ok(Some(vector))
    }
}
