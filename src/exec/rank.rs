//! One rank: its kernels, its share of the model, its part of the KV cache.

use candle_core::Tensor;

use super::sample::{Head, Sampler};
use super::{ExecError, KvLayout, StepOutput, StepPlan};
use crate::ground::ExpertLoad;
use crate::ground::recorder::Recorder;
use crate::ground::results::RankMemory;
use crate::model::{Context, Decoder};
use crate::ops::{Buffer, DeviceRoofs, Kernels, KvLayer, Pick, Sampled, cost};
use crate::parallel::Collective;

pub struct Rank {
    kernels: Box<dyn Kernels>,
    collective: Box<dyn Collective>,
    decoder: Decoder,
    kv: Vec<KvLayer>,
    recorder: Recorder,
    sampler: Sampler,
}

impl Rank {
    pub fn new(
        kernels: Box<dyn Kernels>,
        collective: Box<dyn Collective>,
        decoder: Decoder,
    ) -> Self {
        Self {
            kernels,
            collective,
            decoder,
            kv: Vec::new(),
            recorder: Recorder::default(),
            sampler: Sampler::default(),
        }
    }

    pub fn number(&self) -> usize {
        self.collective.rank()
    }

    pub fn measure_roofs(&self) -> Option<DeviceRoofs> {
        self.kernels.measure_roofs()
    }

    pub fn allocate_kv(&mut self, layout: &KvLayout) -> Result<(), ExecError> {
        self.kv = self
            .decoder
            .kv_cache(
                self.kernels.as_ref(),
                layout.num_blocks,
                layout.block_size,
                layout.dtype,
            )
            .map_err(|source| ExecError::Device {
                what: "the KV cache could not be allocated",
                source,
            })?;
        Ok(())
    }

    /// Fills the cache with a number: the pages that it had are the system's one page of zeros.
    pub fn touch_kv(&mut self) -> Result<(), ExecError> {
        let mut buffers = self.kv.iter().flat_map(|layer| [&layer.k, &layer.v]);
        let filled = buffers.try_for_each(|buffer| buffer.one_set());
        filled.map_err(|source| ExecError::Device {
            what: "the KV cache could not be filled",
            source,
        })
    }

    pub fn memory(&self) -> RankMemory {
        RankMemory {
            rank: self.collective.rank(),
            device: self.kernels.name().to_owned(),
            weights_bytes: self.decoder.weight_bytes(),
            kv_bytes: self.kv.iter().map(kv_bytes).sum(),
            workspace_bytes: self.decoder.workspace_bytes(),
        }
    }

    /// Every rank routes every token, so that each of them knows it all.
    pub fn expert_load(&self) -> Result<Vec<ExpertLoad>, ExecError> {
        self.decoder
            .expert_load()
            .map_err(|source| ExecError::Device {
                what: "the load of the experts could not be read",
                source,
            })
    }

    /// Runs the plan; `output` is overwritten and keeps its buffer.
    pub fn step(&mut self, plan: &StepPlan, output: &mut StepOutput) -> Result<(), ExecError> {
        let mut sampler = std::mem::take(&mut self.sampler);
        let outcome = self.sample(plan, &mut sampler, &mut output.sampled);
        self.sampler = sampler;
        outcome.map_err(|source| ExecError::Device {
            what: "a step failed",
            source,
        })?;
        output.cost = self.recorder.take_total();
        output.traffic = self.collective.take_traffic();
        Ok(())
    }

    /// For timing single operations.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// This rank's logits of the plan's `logit_rows`, `[logit_rows, tokens of this rank]`: for tests and
    /// comparisons.
    pub fn logits(&mut self, plan: &StepPlan) -> Result<Tensor, ExecError> {
        let context = self.context();
        let count = plan.logit_rows.len();
        self.hidden(plan, &context)
            .and_then(|hidden| self.decoder.logits(hidden, count, &context))
            .and_then(|logits| {
                let tokens = self.decoder.vocab().len();
                logits.narrow(0, 0, count)?.narrow(1, 0, tokens)?.copy()
            })
            .map_err(|source| ExecError::Device {
                what: "a step failed",
                source,
            })
    }

    fn context(&self) -> Context<'_> {
        Context {
            kernels: self.kernels.as_ref(),
            collective: self.collective.as_ref(),
            recorder: &self.recorder,
        }
    }

    fn hidden(&self, plan: &StepPlan, context: &Context) -> candle_core::Result<&Buffer> {
        let StepPlan {
            tokens,
            rows,
            logit_rows,
            ..
        } = plan;
        self.decoder
            .hidden(tokens, rows, logit_rows, &self.kv, context)
    }

    fn sample(
        &self,
        plan: &StepPlan,
        sampler: &mut Sampler,
        out: &mut Vec<Sampled>,
    ) -> candle_core::Result<()> {
        let context = self.context();
        let count = plan.picks.len();
        let hidden = self.hidden(plan, &context)?;
        if count == 0 {
            out.clear();
            return Ok(());
        }
        if plan.picks.iter().all(Pick::is_argmax) {
            let find = |out: &mut _| self.decoder.greedy(hidden, count, &context, out);
            return sampler.greedy(context.collective, context.recorder, find, out);
        }
        let logits = self.decoder.logits(hidden, count, &context)?;
        let vocab = self.decoder.vocab();
        let head = Head {
            kernels: context.kernels,
            collective: context.collective,
            vocab,
            vocab_size: self.decoder.vocab_size(),
        };
        let cost = cost::sample(count, vocab.len());
        self.recorder.run("sample", None, cost, || {
            sampler.sample(&head, logits, &plan.picks, out)
        })
    }
}

fn kv_bytes(layer: &KvLayer) -> u64 {
    layer.k.bytes() + layer.v.bytes()
}
