//! From a weight source to packed layers: which tensors make up which weight.

use candle_core::{Error, Result, Tensor, bail};

use super::layer::Layer;
use super::mlp::{Mlp, Sparse};
use super::spec::{ExpertSpec, ModelSpec};
use super::tensors::{bias_name, layer_name};
use super::weights::{Matrix, WeightSource};
use super::workspace::attention_shape;
use crate::ops::{Backend, Expert, Experts, HeadNorms, Linear, Norm, Routing, WeightRows};
use crate::parallel::shard::{RankShape, ShardPlan, Slice, TensorPlan};
use crate::shape::{Format, scale_name};

/// One rank's share of a split model.
#[derive(Debug, Clone, Copy)]
pub struct Share<'a> {
    pub spec: &'a ModelSpec,
    /// Of its shape.
    pub plan: &'a ShardPlan,
    pub rank: usize,
}

impl<'a> Share<'a> {
    pub(super) fn shape(&self) -> RankShape {
        self.plan.rank_shape(self.rank)
    }

    /// What this rank holds of a tensor; `None`: nothing of it, or the model has no such tensor.
    fn find(&self, name: &str) -> Option<(TensorPlan<'a>, Slice)> {
        let plan = self.plan.tensor(name)?;
        Some((plan, plan.slice(self.rank)?))
    }
}

pub(super) struct Loader<'a> {
    share: Share<'a>,
    source: &'a dyn WeightSource,
    backend: &'a dyn Backend,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Loader<'a> {
    /// `progress` is told the bytes of each packed weight.
    pub fn new(
        share: Share<'a>,
        source: &'a dyn WeightSource,
        backend: &'a dyn Backend,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self {
            share,
            source,
            backend,
            progress,
        }
    }

    pub fn layer(&mut self, layer: usize) -> Result<Layer> {
        let name = |suffix: &str| layer_name(layer, suffix);
        let head_norms = match self.share.spec.qk_norm {
            false => None,
            true => Some(HeadNorms {
                q: self.norm(&name("self_attn.q_norm.weight"))?,
                k: self.norm(&name("self_attn.k_norm.weight"))?,
            }),
        };
        let qkv = ["q", "k", "v"].map(|part| name(&format!("self_attn.{part}_proj.weight")));
        Ok(Layer {
            input_norm: self.norm(&name("input_layernorm.weight"))?,
            qkv: self.linear(&qkv)?,
            head_norms,
            o: self.linear(&[name("self_attn.o_proj.weight")])?,
            post_attention_norm: self.norm(&name("post_attention_layernorm.weight"))?,
            mlp: self.mlp(layer)?,
            shape: attention_shape(self.share.plan.shape(), &self.share.shape(), layer),
        })
    }

    fn mlp(&mut self, layer: usize) -> Result<Mlp> {
        match self.share.spec.experts.as_ref() {
            Some(experts) if experts.is_sparse(layer) => self.sparse(layer, experts),
            _ => {
                let Expert { gate_up, down } = self.gated(&layer_name(layer, "mlp"))?;
                Ok(Mlp::Dense { gate_up, down })
            }
        }
    }

    fn sparse(&mut self, layer: usize, experts: &ExpertSpec) -> Result<Mlp> {
        let router = self.linear(&[layer_name(layer, "mlp.gate.weight")])?;
        let held = self.share.shape().experts;
        let first = held.start;
        let held = held.map(|expert| {
            let module = layer_name(layer, format_args!("mlp.experts.{expert}"));
            self.gated(&module)
        });
        Ok(Mlp::Sparse(Sparse {
            router,
            routing: Routing {
                num_experts: experts.num_experts,
                top_k: experts.num_experts_per_tok,
                normalize: experts.norm_topk_prob,
            },
            experts: Experts {
                first,
                held: held.collect::<Result<_>>()?,
            },
            load: self.backend.index_buffer(1, experts.num_experts)?,
        }))
    }

    fn gated(&mut self, module: &str) -> Result<Expert> {
        let name = |part: &str| format!("{module}.{part}_proj.weight");
        Ok(Expert {
            gate_up: self.linear(&["gate", "up"].map(name))?,
            down: self.linear(&[name("down")])?,
        })
    }

    pub fn norm(&mut self, name: &str) -> Result<Norm> {
        let Some(weight) = self.vector(name)? else {
            bail!("the model has no norm {name}");
        };
        Ok(Norm {
            weight: self.backend.vector(weight)?,
            eps: self.share.spec.rms_norm_eps as f32,
        })
    }

    /// Stacks this rank's parts of the named weights and of their biases, if it holds any.
    pub fn linear(&mut self, names: &[String]) -> Result<Linear> {
        let matrices = names
            .iter()
            .map(|name| self.matrix(name))
            .collect::<Result<Vec<_>>>()?;
        let biases = names
            .iter()
            .filter_map(|name| self.vector(&bias_name(name)).transpose())
            .collect::<Result<Vec<_>>>()?;
        let bias = match biases.is_empty() {
            true => None,
            false => Some(Tensor::cat(&biases, 0)?),
        };
        let parts: Vec<&dyn WeightRows> = matrices.iter().map(|m| m as &dyn WeightRows).collect();
        let packed = self.backend.pack(&parts, bias);
        let mut linear = packed.map_err(|error| named(error, names))?;
        if self.quantizes_activations() {
            linear = linear.with_quantized_activations();
        }
        (self.progress)(linear.bytes());
        Ok(linear)
    }

    /// This rank's part of a weight, with its scales if it is quantised.
    fn matrix(&self, name: &str) -> Result<Matrix<'a>> {
        let Some(weight) = self.share.find(name) else {
            bail!("the model has no weight {name}");
        };
        let scales = match weight.0.tensor.format {
            Format::Fp8 => self.share.find(&scale_name(name)),
            _ => None,
        };
        Matrix::new(self.source, weight, scales)
    }

    fn quantizes_activations(&self) -> bool {
        let quantization = self.share.spec.quantization.as_ref();
        quantization.is_some_and(|q| q.quantize_activations)
    }

    fn vector(&self, name: &str) -> Result<Option<Tensor>> {
        let Some((plan, slice)) = self.share.find(name) else {
            return Ok(None);
        };
        Ok(Some(self.source.vector(plan.tensor, slice.range)?))
    }
}

/// With the weights that it is of. A device's error stays as it is: what is said of it depends on its kind.
fn named(error: Error, names: &[String]) -> Error {
    let is_of_device = match &error {
        Error::WithBacktrace { inner, .. } => matches!(**inner, Error::Cuda(_)),
        error => matches!(error, Error::Cuda(_)),
    };
    match is_of_device {
        true => error,
        false => Error::msg(format!("{}: {error}", names.join(", "))),
    }
}
