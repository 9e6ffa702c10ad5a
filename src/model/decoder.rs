//! The one decoder: every family is this file with other switches of its `ModelSpec`.

use std::ops::Range;

use candle_core::{DType, Result};

use super::context::{Context, go_on};
use super::layer::Layer;
use super::load::{Loader, Share};
use super::tensors::{EMBEDDING, FINAL_NORM, HEAD};
use super::weights::WeightSource;
use super::workspace::{StepLimits, Workspace, workspace_bytes};
use crate::ground::ExpertLoad;
use crate::ops::cost::{self, Activations};
use crate::ops::{Backend, Buffer, KvLayer, Linear, Norm, Queue, Rope, Rows};

pub struct Decoder {
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Norm,
    /// `None`: the embedding is the head.
    head: Option<Linear>,
    rope: Rope,
    /// Tokens of this rank's embedding and head rows.
    vocab: Range<usize>,
    vocab_size: usize,
    workspace: Workspace,
    workspace_bytes: u64,
}

impl Decoder {
    /// Packs the weights of one rank; `progress` is told the bytes of each as it is done. What ends the load early is the
    /// source: see [`Stoppable`](super::weights::Stoppable).
    pub fn load(
        share: Share,
        source: &dyn WeightSource,
        backend: &dyn Backend,
        limits: StepLimits,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let Share { spec, plan, rank } = share;
        let mut loader = Loader::new(share, source, backend, progress);
        let embedding = loader.linear(&[EMBEDDING.to_owned()])?;
        let layers = (0..spec.num_hidden_layers)
            .map(|layer| loader.layer(layer))
            .collect::<Result<_>>()?;
        let norm = loader.norm(FINAL_NORM)?;
        let head = match spec.tie_word_embeddings {
            true => None,
            false => Some(loader.linear(&[HEAD.to_owned()])?),
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
            vocab: share.shape().vocab,
            vocab_size: spec.vocab_size,
            workspace: Workspace::new(plan, rank, backend, limits)?,
            workspace_bytes: workspace_bytes(
                plan,
                rank,
                limits,
                backend.activations().size_in_bytes(),
            ),
        })
    }

    /// Bytes of all packed weights, biases and norms.
    pub fn weight_bytes(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| {
            let linears = [&layer.qkv, &layer.o];
            let norms = [&layer.input_norm, &layer.post_attention_norm];
            let head_norms = layer
                .head_norms
                .iter()
                .flat_map(|norms| [&norms.q, &norms.k]);
            let norms = norms.into_iter().chain(head_norms).map(Norm::bytes);
            linears
                .into_iter()
                .map(Linear::bytes)
                .chain(norms)
                .chain([layer.mlp.bytes()])
                .sum::<u64>()
        });
        let head = self.head.as_ref().map_or(0, Linear::bytes);
        self.embedding.bytes() + layers.sum::<u64>() + self.norm.bytes() + head
    }

    pub fn workspace_bytes(&self) -> u64 {
        self.workspace_bytes
    }

    /// How often each of the model's experts was chosen since the weights were loaded, wrapping around: one list
    /// a sparse layer. The same on every rank.
    pub fn expert_load(&self) -> Result<Vec<ExpertLoad>> {
        let layers = self.layers.iter().enumerate();
        let sparse = layers.filter_map(|(layer, l)| Some((layer, l.mlp.load()?)));
        sparse
            .map(|(layer, load)| {
                let tokens = load.flatten_all()?.to_vec1()?;
                Ok(ExpertLoad { layer, tokens })
            })
            .collect()
    }

    /// Bytes of the weights of one expert, all of which are alike; `None`: no layer is sparse.
    pub fn expert_bytes(&self) -> Option<u64> {
        self.layers
            .iter()
            .find_map(|layer| layer.mlp.expert_bytes())
    }

    /// One cache layer a decoder layer.
    pub fn kv_cache(
        &self,
        backend: &dyn Backend,
        num_blocks: usize,
        block_size: usize,
        dtype: DType,
    ) -> Result<Vec<KvLayer>> {
        self.layers
            .iter()
            .map(|layer| backend.kv_layer(num_blocks, block_size, &layer.shape, dtype))
            .collect()
    }

    /// Runs one step up to the head and returns the hidden states of the rows that need logits,
    /// `[at least logit_rows.len(), hidden]`.
    ///
    /// `tokens` and `rows` agree in length; `logit_rows` index them. `Kernels::begin_step` was told of the three.
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
            ..
        } = context;
        let (ws, cost) = (&self.workspace, context.cost());
        let (mut x, mut attention, mut count) = (&ws.x, &ws.attention, rows.len());
        let hidden = self.embedding.k;
        let reduce = |at, x: &Buffer, count| match collective.size() {
            1 => Ok(()),
            ranks => recorder.run(
                "all_reduce",
                at,
                cost.all_reduce(count, hidden, ranks),
                || collective.all_reduce(x, count),
            ),
        };
        let first = self.vocab.start as u32;
        recorder.run("embed", None, cost.embed(&self.embedding, count), || {
            kernels.embed(&self.embedding, first, tokens, x)
        })?;
        reduce(None, x, count)?;
        let head_dim = 2 * self.rope.inverse_frequencies.len();
        recorder.run("rope", None, Activations::F32.copy(count, head_dim), || {
            kernels.rope(&self.rope, &rows.positions, &ws.rotation)
        })?;
        let norm = |at, x: &Buffer, delta: Option<&Buffer>, norm: &Norm, count| {
            let streams = if delta.is_some() { 4 } else { 2 };
            recorder.run("norm", at, cost.norm(count, hidden, streams), || {
                kernels.add_norm(x, delta, norm, count, &ws.normed)
            })
        };
        // What ranks add up, the residual and the norm behind it: at once where they can.
        let delta = &ws.delta;
        let add = |of, at, x: &Buffer, weights: &Norm, count| {
            if !collective.norms(delta, count)? {
                reduce(of, delta, count)?;
                return norm(at, x, Some(delta), weights, count);
            }
            let mut both = cost.all_reduce(count, hidden, collective.size());
            both += cost.norm(count, hidden, 4);
            recorder.run("all_reduce_norm", at, both, || {
                collective.all_reduce_norm(delta, x, weights, count, &ws.normed)
            })
        };
        // Behind the sum of the layer `of`, where there is one.
        let behind = |of: Option<usize>, at, x: &Buffer, weights: &Norm, count| match of {
            None => norm(at, x, None, weights, count),
            of => add(of, at, x, weights, count),
        };
        for (index, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            go_on(context.progress)?;
            let at = Some(index);
            let (shape, kv_type) = (&layer.shape, kv.k.dtype());
            behind(index.checked_sub(1), at, x, &layer.input_norm, count)?;
            context.linear("qkv", at, &ws.normed, &layer.qkv, count, &ws.qkv)?;
            let write_cost = cost.write_kv(shape, count, kv_type);
            recorder.run("write_kv", at, write_cost, || {
                let norms = layer.head_norms.as_ref();
                kernels.write_kv(&ws.qkv, shape, norms, &ws.rotation, rows, kv)
            })?;
            // Rows that need no logits have left what others see of them in the last cache.
            let is_last = index + 1 == self.layers.len();
            if is_last && logit_rows.is_empty() {
                return Ok(&ws.normed);
            }
            recorder.run("attend", at, cost.attend(shape, rows, kv_type), || {
                kernels.attend(&ws.qkv, shape, rows, kv, &ws.attention)
            })?;
            if is_last && !logit_rows.iter().copied().eq(0..count as u32) {
                count = logit_rows.len();
                let copied = cost.copy(count, hidden + shape.q_width());
                recorder.run("gather", at, copied, || {
                    kernels.gather(x, logit_rows, &ws.last_x)?;
                    kernels.gather(attention, logit_rows, &ws.last_attention)
                })?;
                (x, attention) = (&ws.last_x, &ws.last_attention);
            }
            context.linear("o", at, attention, &layer.o, count, &ws.delta)?;
            add(at, at, x, &layer.post_attention_norm, count)?;
            layer.mlp.run(index, ws, count, context)?;
        }
        let last = self.layers.len().checked_sub(1);
        behind(last, None, x, &self.norm, count)?;
        Ok(&ws.normed)
    }

    /// This rank's logits of the first `count` rows of `hidden`, `[at least count, vocab rows]`, of
    /// which the first `vocab().len()` columns are tokens.
    pub fn logits(&self, hidden: &Buffer, count: usize, context: &Context) -> Result<&Buffer> {
        let (head, logits) = (self.head(), &self.workspace.logits);
        let cost = context.cost().head(head, count);
        context.recorder.run("head", None, cost, || {
            context.kernels.linear(hidden, head, count, logits)
        })?;
        Ok(logits)
    }

    /// This rank's most likely token after each of the first `count` rows of `hidden`, and its logit.
    pub fn greedy(
        &self,
        hidden: &Buffer,
        count: usize,
        context: &Context,
        out: &mut Vec<(u32, f32)>,
    ) -> Result<()> {
        let cost = context.cost().greedy(self.head(), count);
        context.recorder.run("head", None, cost, || {
            let (head, logits) = (self.head(), &self.workspace.logits);
            let kernels = context.kernels;
            kernels.greedy(hidden, head, &self.vocab, count, logits, out)
        })
    }

    /// The first part of [`Self::greedy`], as a device queues it and a graph keeps it, and the ranks' agreement on the
    /// tokens. Without a queue only what it costs is counted.
    pub fn queue_draw(
        &self,
        hidden: &Buffer,
        count: usize,
        context: &Context,
        queue: Option<&dyn Queue>,
    ) -> Result<()> {
        let Context {
            kernels,
            collective,
            recorder,
            ..
        } = context;
        let (head, logits) = (self.head(), &self.workspace.logits);
        let cost = context.cost().greedy(head, count);
        let queued = recorder.run("head", None, cost, || {
            let queue_on = |queue: &dyn Queue| {
                kernels.linear(hidden, head, count, logits)?;
                queue.queue_draw(logits, &self.vocab, count)
            };
            queue.map(queue_on).transpose()
        })?;
        match collective.size() {
            1 => Ok(()),
            _ => recorder.run("agree", None, cost::agree(count), || {
                let agree = |keys: &Buffer| collective.agree(keys, count);
                queued.as_ref().map_or(Ok(()), agree)
            }),
        }
    }

    /// What [`Self::hidden`] wrote last, whoever queued it.
    pub fn written_hidden(&self) -> &Buffer {
        &self.workspace.normed
    }

    /// What [`Self::logits`] wrote last, whoever queued it.
    pub fn written_logits(&self) -> &Buffer {
        &self.workspace.logits
    }

    /// Tokens of this rank's part of the head.
    pub fn vocab(&self) -> &Range<usize> {
        &self.vocab
    }

    /// Tokens of all ranks.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn head(&self) -> &Linear {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}
