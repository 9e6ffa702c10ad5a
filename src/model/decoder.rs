//! The one decoder: every family is this file with other switches of its `ModelSpec`.

use candle_core::{DType, Result, Tensor};

use super::spec::ModelSpec;
use super::tensors::{EMBEDDING, FINAL_NORM, HEAD, layer_name};
use super::weights::{Matrix, WeightSource};
use crate::ground::recorder::Recorder;
use crate::ops::{
    AttentionShape, HeadNorms, Kernels, KvLayer, Linear, Norm, Rope, Rows, WeightRows, cost,
};
use crate::parallel::Collective;

struct Layer {
    input_norm: Norm,
    /// q, k and v stacked.
    qkv: Linear,
    head_norms: Option<HeadNorms>,
    o: Linear,
    post_attention_norm: Norm,
    /// gate and up stacked.
    gate_up: Linear,
    down: Linear,
    shape: AttentionShape,
}

/// Activation buffers for the largest step, f32; a step uses their first rows.
struct Workspace {
    /// The residual stream, and what the last block adds to it.
    x: Tensor,
    delta: Tensor,
    normed: Tensor,
    rotation: Tensor,
    qkv: Tensor,
    attention: Tensor,
    gate_up: Tensor,
    activated: Tensor,
    /// The rows that need logits.
    last: Tensor,
    logits: Tensor,
}

/// Largest step that a decoder must hold.
#[derive(Debug, Clone, Copy)]
pub struct StepLimits {
    /// Rows of one step: `max_num_batched_tokens`.
    pub rows: usize,
    /// Rows of one step that need logits: at most `max_num_seqs`.
    pub logit_rows: usize,
}

/// What a forward pass works with, beside the decoder's own weights.
pub struct Context<'a> {
    pub kernels: &'a dyn Kernels,
    pub collective: &'a dyn Collective,
    pub recorder: &'a Recorder,
}

pub struct Decoder {
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Norm,
    /// `None`: the embedding is the head.
    head: Option<Linear>,
    rope: Rope,
    workspace: Workspace,
}

impl Decoder {
    /// Packs all weights; `progress` is told the packed bytes so far.
    pub fn load(
        spec: &ModelSpec,
        source: &dyn WeightSource,
        kernels: &dyn Kernels,
        limits: StepLimits,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let mut loader = Loader {
            spec,
            source,
            kernels,
            progress,
            bytes: 0,
        };
        let (h, vocab) = (spec.hidden_size, spec.vocab_size);
        let embedding = loader.linear(&[(EMBEDDING.to_owned(), vocab)], h, false)?;
        let layers = (0..spec.num_hidden_layers)
            .map(|layer| loader.layer(layer))
            .collect::<Result<_>>()?;
        let norm = loader.norm(FINAL_NORM, h)?;
        let head = match spec.tie_word_embeddings {
            true => None,
            false => Some(loader.linear(&[(HEAD.to_owned(), vocab)], h, false)?),
        };
        Ok(Self {
            embedding,
            layers,
            norm,
            head,
            rope: Rope {
                inverse_frequencies: spec.rope.inverse_frequencies(spec.head_dim),
                attention_factor: spec.rope.attention_factor(),
            },
            workspace: Workspace::new(spec, kernels, limits)?,
        })
    }

    /// Bytes of all packed weights.
    pub fn weight_bytes(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| {
            let linears = [&layer.qkv, &layer.o, &layer.gate_up, &layer.down];
            linears.into_iter().map(Linear::bytes).sum::<u64>()
        });
        self.embedding.bytes() + layers.sum::<u64>() + self.head.as_ref().map_or(0, Linear::bytes)
    }

    pub fn workspace_bytes(&self) -> u64 {
        self.workspace
            .tensors()
            .iter()
            .map(|t| (t.elem_count() * t.dtype().size_in_bytes()) as u64)
            .sum()
    }

    /// One cache layer a decoder layer.
    pub fn kv_cache(
        &self,
        kernels: &dyn Kernels,
        num_blocks: usize,
        block_size: usize,
        dtype: DType,
    ) -> Result<Vec<KvLayer>> {
        self.layers
            .iter()
            .map(|layer| kernels.kv_layer(num_blocks, block_size, &layer.shape, dtype))
            .collect()
    }

    /// Runs one step and returns the logits buffer `[at least logit_rows.len(), vocab]`.
    ///
    /// `tokens` and `rows` agree in length; `logit_rows` index them.
    pub fn forward(
        &self,
        tokens: &[u32],
        rows: &Rows,
        logit_rows: &[u32],
        kv: &[KvLayer],
        context: &Context,
    ) -> Result<&Tensor> {
        let Context {
            kernels,
            collective,
            recorder,
        } = context;
        let ws = &self.workspace;
        let count = rows.len();
        let hidden = self.embedding.k;
        recorder.run("embed", None, cost::embed(&self.embedding, count), || {
            kernels.embed(&self.embedding, tokens, &ws.x)
        })?;
        let head_dim = 2 * self.rope.inverse_frequencies.len();
        recorder.run("rope", None, cost::copy(count, head_dim), || {
            kernels.rope(&self.rope, &rows.positions, &ws.rotation)
        })?;
        let mut pending = None;
        for (index, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let at = Some(index);
            let linear = |x: &Tensor, w: &Linear, out: &Tensor, name| {
                recorder.run(name, at, cost::linear(w, count), || {
                    kernels.linear(x, w, count, out)
                })
            };
            let norm = |delta: Option<&Tensor>, norm: &Norm| {
                let streams = if delta.is_some() { 4 } else { 2 };
                recorder.run("norm", at, cost::norm(count, hidden, streams), || {
                    kernels.add_norm(&ws.x, delta, norm, count, &ws.normed)
                })
            };
            let shape = &layer.shape;
            norm(pending, &layer.input_norm)?;
            linear(&ws.normed, &layer.qkv, &ws.qkv, "qkv")?;
            let kv_type = kv.k.dtype();
            recorder.run(
                "write_kv",
                at,
                cost::write_kv(shape, count, kv_type),
                || {
                    let norms = layer.head_norms.as_ref();
                    kernels.write_kv(&ws.qkv, shape, norms, &ws.rotation, rows, kv)
                },
            )?;
            recorder.run("attend", at, cost::attend(shape, rows, kv_type), || {
                kernels.attend(&ws.qkv, shape, rows, kv, &ws.attention)
            })?;
            linear(&ws.attention, &layer.o, &ws.delta, "o")?;
            collective.all_reduce(&ws.delta, count)?;
            norm(Some(&ws.delta), &layer.post_attention_norm)?;
            linear(&ws.normed, &layer.gate_up, &ws.gate_up, "gate_up")?;
            recorder.run("silu_mul", at, cost::silu_mul(count, layer.down.k), || {
                kernels.silu_mul(&ws.gate_up, count, &ws.activated)
            })?;
            linear(&ws.activated, &layer.down, &ws.delta, "down")?;
            collective.all_reduce(&ws.delta, count)?;
            pending = Some(&ws.delta);
        }
        recorder.run("norm", None, cost::norm(count, hidden, 4), || {
            kernels.add_norm(&ws.x, pending, &self.norm, count, &ws.normed)
        })?;
        let wanted = logit_rows.len();
        recorder.run("gather", None, cost::copy(wanted, hidden), || {
            kernels.gather(&ws.normed, logit_rows, &ws.last)
        })?;
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        recorder.run("head", None, cost::linear(head, wanted), || {
            kernels.linear(&ws.last, head, wanted, &ws.logits)
        })?;
        Ok(&ws.logits)
    }
}

impl Workspace {
    fn new(spec: &ModelSpec, kernels: &dyn Kernels, limits: StepLimits) -> Result<Self> {
        let StepLimits { rows, logit_rows } = limits;
        let h = spec.hidden_size;
        let shape = attention_shape(spec, 0);
        Ok(Self {
            x: kernels.buffer(rows, h)?,
            delta: kernels.buffer(rows, h)?,
            normed: kernels.buffer(rows, h)?,
            rotation: kernels.buffer(rows, spec.head_dim)?,
            qkv: kernels.buffer(rows, shape.qkv_width())?,
            attention: kernels.buffer(rows, shape.q_width())?,
            gate_up: kernels.buffer(rows, 2 * spec.intermediate_size)?,
            activated: kernels.buffer(rows, spec.intermediate_size)?,
            last: kernels.buffer(logit_rows, h)?,
            logits: kernels.buffer(logit_rows, spec.vocab_size)?,
        })
    }

    fn tensors(&self) -> [&Tensor; 10] {
        [
            &self.x,
            &self.delta,
            &self.normed,
            &self.rotation,
            &self.qkv,
            &self.attention,
            &self.gate_up,
            &self.activated,
            &self.last,
            &self.logits,
        ]
    }
}

fn attention_shape(spec: &ModelSpec, layer: usize) -> AttentionShape {
    AttentionShape {
        num_heads: spec.num_attention_heads,
        num_kv_heads: spec.num_key_value_heads,
        head_dim: spec.head_dim,
        window: spec.layer_window(layer),
    }
}

struct Loader<'a> {
    spec: &'a ModelSpec,
    source: &'a dyn WeightSource,
    kernels: &'a dyn Kernels,
    progress: &'a mut dyn FnMut(u64),
    bytes: u64,
}

impl Loader<'_> {
    fn layer(&mut self, layer: usize) -> Result<Layer> {
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

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm {
            weight: self.source.vector(name, width)?,
            eps: self.spec.rms_norm_eps as f32,
        })
    }

    /// Stacks `(weight name, rows)` parts of `columns` columns.
    fn linear(&mut self, parts: &[(String, usize)], columns: usize, bias: bool) -> Result<Linear> {
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
