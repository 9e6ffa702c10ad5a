//! The one decoder: every family is this file with other switches of its `ModelSpec`.

use candle_core::{DType, Result};

use super::load::{Loader, attention_shape};
use super::spec::ModelSpec;
use super::tensors::{EMBEDDING, FINAL_NORM, HEAD};
use super::weights::WeightSource;
use crate::ground::recorder::Recorder;
use crate::ops::{
    AttentionShape, Buffer, HeadNorms, Kernels, KvLayer, Linear, Norm, Rope, Rows, Sampled, cost,
};
use crate::parallel::Collective;

pub(super) struct Layer {
    pub input_norm: Norm,
    /// q, k and v stacked.
    pub qkv: Linear,
    pub head_norms: Option<HeadNorms>,
    pub o: Linear,
    pub post_attention_norm: Norm,
    /// gate and up stacked.
    pub gate_up: Linear,
    pub down: Linear,
    pub shape: AttentionShape,
}

/// Activation buffers for the largest step, f32; a step uses their first rows.
struct Workspace {
    /// The residual stream, and what the last block adds to it.
    x: Buffer,
    delta: Buffer,
    normed: Buffer,
    rotation: Buffer,
    qkv: Buffer,
    attention: Buffer,
    gate_up: Buffer,
    activated: Buffer,
    /// Of the rows that need logits, after the last layer's attention.
    last_x: Buffer,
    last_attention: Buffer,
    logits: Buffer,
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
        let mut loader = Loader::new(spec, source, kernels, progress);
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
        let buffers = self.workspace.buffers();
        buffers.into_iter().map(Buffer::bytes).sum()
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

    /// Runs one step up to the head and returns the hidden states of the rows that need logits,
    /// `[at least logit_rows.len(), hidden]`.
    ///
    /// `tokens` and `rows` agree in length; `logit_rows` index them.
    pub fn hidden(
        &self,
        tokens: &[u32],
        rows: &Rows,
        logit_rows: &[u32],
        kv: &[KvLayer],
        context: &Context,
    ) -> Result<&Buffer> {
        let Context {
            kernels,
            collective,
            recorder,
        } = context;
        let ws = &self.workspace;
        let (mut x, mut attention, mut count) = (&ws.x, &ws.attention, rows.len());
        let hidden = self.embedding.k;
        recorder.run("embed", None, cost::embed(&self.embedding, count), || {
            kernels.embed(&self.embedding, tokens, x)
        })?;
        let head_dim = 2 * self.rope.inverse_frequencies.len();
        recorder.run("rope", None, cost::copy(count, head_dim), || {
            kernels.rope(&self.rope, &rows.positions, &ws.rotation)
        })?;
        let norm = |at, x: &Buffer, delta: Option<&Buffer>, norm: &Norm, count| {
            let streams = if delta.is_some() { 4 } else { 2 };
            recorder.run("norm", at, cost::norm(count, hidden, streams), || {
                kernels.add_norm(x, delta, norm, count, &ws.normed)
            })
        };
        let linear = |name, at, x: &Buffer, w: &Linear, count, out: &Buffer| {
            recorder.run(name, at, cost::linear(w, count), || {
                kernels.linear(x, w, count, out)
            })
        };
        let mut pending = None;
        for (index, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let at = Some(index);
            let (shape, kv_type) = (&layer.shape, kv.k.dtype());
            norm(at, x, pending, &layer.input_norm, count)?;
            linear("qkv", at, &ws.normed, &layer.qkv, count, &ws.qkv)?;
            let write_cost = cost::write_kv(shape, count, kv_type);
            recorder.run("write_kv", at, write_cost, || {
                let norms = layer.head_norms.as_ref();
                kernels.write_kv(&ws.qkv, shape, norms, &ws.rotation, rows, kv)
            })?;
            // Rows that need no logits have left what others see of them in the last cache.
            let is_last = index + 1 == self.layers.len();
            if is_last && logit_rows.is_empty() {
                return Ok(&ws.normed);
            }
            recorder.run("attend", at, cost::attend(shape, rows, kv_type), || {
                kernels.attend(&ws.qkv, shape, rows, kv, &ws.attention)
            })?;
            if is_last && !logit_rows.iter().copied().eq(0..count as u32) {
                count = logit_rows.len();
                let copied = cost::copy(count, hidden + shape.q_width());
                recorder.run("gather", at, copied, || {
                    kernels.gather(x, logit_rows, &ws.last_x)?;
                    kernels.gather(attention, logit_rows, &ws.last_attention)
                })?;
                (x, attention) = (&ws.last_x, &ws.last_attention);
            }
            linear("o", at, attention, &layer.o, count, &ws.delta)?;
            collective.all_reduce(&ws.delta, count)?;
            norm(at, x, Some(&ws.delta), &layer.post_attention_norm, count)?;
            linear(
                "gate_up",
                at,
                &ws.normed,
                &layer.gate_up,
                count,
                &ws.gate_up,
            )?;
            recorder.run("silu_mul", at, cost::silu_mul(count, layer.down.k), || {
                kernels.silu_mul(&ws.gate_up, count, &ws.activated)
            })?;
            linear("down", at, &ws.activated, &layer.down, count, &ws.delta)?;
            collective.all_reduce(&ws.delta, count)?;
            pending = Some(&ws.delta);
        }
        norm(None, x, pending, &self.norm, count)?;
        Ok(&ws.normed)
    }

    /// Logits of the first `count` rows of `hidden`, `[at least count, vocab]`.
    pub fn logits(&self, hidden: &Buffer, count: usize, context: &Context) -> Result<&Buffer> {
        let (head, logits) = (self.head(), &self.workspace.logits);
        let cost = cost::linear(head, count);
        context.recorder.run("head", None, cost, || {
            context.kernels.linear(hidden, head, count, logits)
        })?;
        Ok(logits)
    }

    /// The most likely token after each of the first `count` rows of `hidden`.
    pub fn greedy(
        &self,
        hidden: &Buffer,
        count: usize,
        context: &Context,
        out: &mut Vec<Sampled>,
    ) -> Result<()> {
        let cost = cost::greedy(self.head(), count);
        context.recorder.run("head", None, cost, || {
            context.kernels.greedy(hidden, self.head(), count, out)
        })
    }

    fn head(&self) -> &Linear {
        self.head.as_ref().unwrap_or(&self.embedding)
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
            last_x: kernels.buffer(logit_rows, h)?,
            last_attention: kernels.buffer(logit_rows, shape.q_width())?,
            logits: kernels.buffer(logit_rows, spec.vocab_size)?,
        })
    }

    fn buffers(&self) -> [&Buffer; 11] {
        [
            &self.x,
            &self.delta,
            &self.normed,
            &self.rotation,
            &self.qkv,
            &self.attention,
            &self.gate_up,
            &self.activated,
            &self.last_x,
            &self.last_attention,
            &self.logits,
        ]
    }
}
