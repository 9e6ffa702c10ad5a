//! One rank: its kernels, its share of the model, its part of the KV cache.

use std::collections::VecDeque;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::graphs::{Graph, GraphLimits, Graphs};
use super::sample::{Head, Sampler};
use super::warm_up::{self, Headroom, WarmUp};
use super::{ExecError, KvLayout, StepOutput, StepPlan};
use crate::ground::recorder::{Cost, OpRecord, Recorder};
use crate::ground::results::RankMemory;
use crate::ground::{Clock, ExpertLoad};
use crate::model::{Context, Decoder};
use crate::ops::nothing::Nothing;
use crate::ops::{Buffer, DeviceMemory, DeviceRoofs, Kernels, KvLayer, Pick, Sampled, cost};
use crate::parallel::Collective;

pub struct Rank {
    kernels: Box<dyn Kernels>,
    collective: Box<dyn Collective>,
    decoder: Decoder,
    kv: Vec<KvLayer>,
    recorder: Recorder,
    sampler: Sampler,
    graphs: Graphs,
    queued: VecDeque<Queued>,
}

/// A step that the device has been given.
struct Queued {
    /// Answers that it will have.
    rows: usize,
    cost: Cost,
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
            graphs: Graphs::default(),
            queued: VecDeque::new(),
        }
    }

    pub fn number(&self) -> usize {
        self.collective.rank()
    }

    pub fn measure_roofs(&self) -> Option<DeviceRoofs> {
        self.kernels.measure_roofs()
    }

    /// Runs the largest steps on a small cache, which it drops, and tells what they leave; graphs are counted as many
    /// times the largest one. `None`: the device has no memory of its own.
    pub fn warm_up(
        &mut self,
        warm_up: &WarmUp,
        kv: DType,
        graphs: Option<GraphLimits>,
    ) -> Result<Option<Headroom>, ExecError> {
        self.allocate_kv(&KvLayout {
            num_blocks: warm_up::BLOCKS,
            block_size: warm_up.block_size,
            dtype: kv,
        })?;
        for plan in warm_up.plans() {
            self.step(&plan, &mut StepOutput::default())?;
        }
        let before = self.device_memory()?;
        let mut graph_bytes = 0;
        if let (Some(limits), Some(before)) = (&graphs, before) {
            self.capture(limits, 1)?;
            let after = self.device_memory()?.map_or(before.free, |m| m.free);
            graph_bytes = before.free.saturating_sub(after) * limits.buckets().len() as u64;
        }
        self.free_kv();
        let memory = self.device_memory()?;
        Ok(memory.map(|memory| Headroom {
            memory,
            graph_bytes,
        }))
    }

    /// Of the rank's device, where it has memory of its own.
    pub fn device_memory(&self) -> Result<Option<DeviceMemory>, ExecError> {
        self.kernels
            .memory()
            .map_err(device_error("the device's memory could not be read"))
    }

    /// Drops the cache, and the graphs that read it.
    pub fn free_kv(&mut self) {
        self.graphs = Graphs::default();
        self.kv = Vec::new();
    }

    /// Keeps a graph for each of the largest buckets of decode steps that `limits` allow, at most `most` of them.
    pub fn capture(&mut self, limits: &GraphLimits, most: usize) -> Result<(), ExecError> {
        let failed = device_error(
            "a decode step could not be captured as a CUDA graph; --no-cuda-graphs runs without",
        );
        let GraphLimits {
            rows,
            step_rows,
            max_blocks,
        } = *limits;
        self.kernels
            .reserve(step_rows, rows, max_blocks)
            .map_err(failed)?;
        for rows in limits.buckets().into_iter().rev().take(most) {
            let plan = limits.plan(rows);
            // Kernels are compiled and scratch is allocated by a step that runs.
            self.run(&plan, &mut Sampler::default(), &mut Vec::new())
                .map_err(device_error("a step failed"))?;
            let context = self.context();
            let mut work = || {
                let hidden = self.decoder.hidden(
                    &plan.tokens,
                    &plan.rows,
                    &plan.logit_rows,
                    &self.kv,
                    &context,
                )?;
                self.decoder.queue_greedy(hidden, rows, &context)?;
                Ok(())
            };
            let captured = self.kernels.capture(&mut work).map_err(failed)?;
            if let Some(replay) = captured {
                self.graphs.keep(*limits, rows, replay);
            }
        }
        self.recorder.take_total();
        Ok(())
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
            .map_err(device_error("the KV cache could not be allocated"))?;
        Ok(())
    }

    /// Fills the cache with a number: the pages that it had are the system's one page of zeros.
    pub fn touch_kv(&mut self) -> Result<(), ExecError> {
        let mut buffers = self.kv.iter().flat_map(|layer| [&layer.k, &layer.v]);
        let filled = buffers.try_for_each(|buffer| buffer.one_set());
        filled.map_err(device_error("the KV cache could not be filled"))
    }

    pub fn memory(&self) -> RankMemory {
        RankMemory {
            rank: self.collective.rank(),
            device: self.kernels.device(),
            weights_bytes: self.decoder.weight_bytes(),
            kv_bytes: self.kv.iter().map(kv_bytes).sum(),
            workspace_bytes: self.decoder.workspace_bytes(),
        }
    }

    /// Every rank routes every token, so that each of them knows it all.
    pub fn expert_load(&self) -> Result<Vec<ExpertLoad>, ExecError> {
        self.decoder
            .expert_load()
            .map_err(device_error("the load of the experts could not be read"))
    }

    /// Runs the plan; `output` is overwritten and keeps its buffer.
    pub fn step(&mut self, plan: &StepPlan, output: &mut StepOutput) -> Result<(), ExecError> {
        let mut sampler = std::mem::take(&mut self.sampler);
        let outcome = self.sample(plan, &mut sampler, &mut output.sampled);
        self.sampler = sampler;
        outcome.map_err(device_error("a step failed"))?;
        output.cost = self.recorder.take_total();
        output.traffic = self.collective.take_traffic();
        Ok(())
    }

    /// Whether [`Self::queue`] can take `plan`.
    pub fn can_queue(&self, plan: &StepPlan) -> bool {
        self.kernels.queues()
            && self.collective.size() == 1
            && !self.recorder.is_timing()
            && !plan.picks.is_empty()
            && plan.picks.iter().all(Pick::is_argmax)
    }

    /// Queues a step; another may be queued before [`Self::collect`] has waited for it.
    pub fn queue(&mut self, plan: &StepPlan) -> Result<(), ExecError> {
        self.queue_step(plan)
            .map_err(device_error("a step failed"))?;
        self.queued.push_back(Queued {
            rows: plan.picks.len(),
            cost: self.recorder.take_total(),
        });
        Ok(())
    }

    /// Waits for the step that was queued first; `output` is overwritten and keeps its buffer.
    pub fn collect(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        let Some(Queued { rows, cost }) = self.queued.pop_front() else {
            return Err(ExecError::NothingQueued);
        };
        let find = |out: &mut Vec<_>| self.kernels.collect_greedy(rows, out);
        let (collective, recorder) = (self.collective.as_ref(), &self.recorder);
        self.sampler
            .greedy(collective, recorder, find, &mut output.sampled)
            .map_err(device_error("a step failed"))?;
        output.cost = cost;
        output.traffic = self.collective.take_traffic();
        Ok(())
    }

    /// From now on operations are timed one by one, on `clock`.
    pub fn start_timeline(&self, clock: Arc<dyn Clock>) {
        self.recorder.start_timeline(clock, self.kernels.timer());
    }

    /// The operations since then.
    pub fn take_timeline(&self) -> Result<Vec<OpRecord>, ExecError> {
        self.recorder
            .take_timeline()
            .map_err(candle_core::Error::msg)
            .map_err(device_error("operations could not be timed"))
    }

    /// This rank's logits of the plan's `logit_rows`, `[logit_rows, tokens of this rank]`, on the CPU: for tests and
    /// comparisons.
    pub fn logits(&mut self, plan: &StepPlan) -> Result<Tensor, ExecError> {
        let context = self.context();
        let count = plan.logit_rows.len();
        self.hidden(plan, &context)
            .and_then(|hidden| self.decoder.logits(hidden, count, &context))
            .and_then(|logits| {
                let tokens = self.decoder.vocab().len();
                let own = logits.narrow(0, 0, count)?.narrow(1, 0, tokens)?;
                own.copy()?.to_device(&Device::Cpu)
            })
            .map_err(device_error("a step failed"))
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
        context.kernels.begin_step(tokens, rows, logit_rows)?;
        self.decoder
            .hidden(tokens, rows, logit_rows, &self.kv, context)
    }

    fn sample(
        &self,
        plan: &StepPlan,
        sampler: &mut Sampler,
        out: &mut Vec<Sampled>,
    ) -> candle_core::Result<()> {
        match self.graphs.of(plan) {
            Some(graph) if !self.recorder.is_timing() => self.replay(graph, plan, sampler, out),
            _ => self.run(plan, sampler, out),
        }
    }

    /// One operation after the other.
    fn run(
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
            return self.kernels.synchronize();
        }
        if plan.picks.iter().all(Pick::is_argmax) {
            let find = |out: &mut _| self.decoder.greedy(hidden, count, &context, out);
            return sampler.greedy(context.collective, context.recorder, find, out);
        }
        let logits = self.decoder.logits(hidden, count, &context)?;
        self.draw(logits, plan, sampler, out)
    }

    fn draw(
        &self,
        logits: &Buffer,
        plan: &StepPlan,
        sampler: &mut Sampler,
        out: &mut Vec<Sampled>,
    ) -> candle_core::Result<()> {
        let vocab = self.decoder.vocab();
        let head = Head {
            kernels: self.kernels.as_ref(),
            collective: self.collective.as_ref(),
            vocab,
            vocab_size: self.decoder.vocab_size(),
        };
        let cost = cost::sample(plan.picks.len(), vocab.len());
        self.recorder.run("sample", None, cost, || {
            sampler.sample(&head, logits, &plan.picks, out)
        })
    }

    fn queue_step(&self, plan: &StepPlan) -> candle_core::Result<()> {
        let count = plan.picks.len();
        match self.graphs.of(plan) {
            Some(graph) => {
                self.start_graph(graph, plan)?;
                self.kernels.send_greedy(graph.rows())?;
                let nothing = Nothing(self.kernels.activations());
                let (hidden, context) = self.count(plan, &nothing)?;
                self.decoder
                    .greedy(hidden, count, &context, &mut Vec::new())
            }
            None => {
                let context = self.context();
                let hidden = self.hidden(plan, &context)?;
                self.decoder.queue_greedy(hidden, count, &context)?;
                self.kernels.send_greedy(count)
            }
        }
    }

    fn start_graph(&self, graph: &Graph, plan: &StepPlan) -> candle_core::Result<()> {
        let padded = graph.pad(plan);
        self.kernels
            .begin_step(&padded.tokens, &padded.rows, &padded.logit_rows)?;
        graph.replay()
    }

    /// While the device replays a step: what it costs, by a pass over the decoder that does nothing else.
    fn count<'a>(
        &'a self,
        plan: &StepPlan,
        nothing: &'a Nothing,
    ) -> candle_core::Result<(&'a Buffer, Context<'a>)> {
        let context = Context {
            kernels: nothing,
            ..self.context()
        };
        let StepPlan {
            tokens,
            rows,
            logit_rows,
            ..
        } = plan;
        let hidden = self
            .decoder
            .hidden(tokens, rows, logit_rows, &self.kv, &context)?;
        Ok((hidden, context))
    }

    /// A decode step by its graph.
    fn replay(
        &self,
        graph: &Graph,
        plan: &StepPlan,
        sampler: &mut Sampler,
        out: &mut Vec<Sampled>,
    ) -> candle_core::Result<()> {
        self.start_graph(graph, plan)?;
        let nothing = Nothing(self.kernels.activations());
        let (hidden, context) = self.count(plan, &nothing)?;
        let (decoder, count) = (&self.decoder, plan.picks.len());
        if !plan.picks.iter().all(Pick::is_argmax) {
            let logits = decoder.logits(hidden, count, &context)?;
            return self.draw(logits, plan, sampler, out);
        }
        let find = |out: &mut Vec<_>| {
            self.kernels.send_greedy(graph.rows())?;
            decoder.greedy(hidden, count, &context, &mut Vec::new())?;
            self.kernels.collect_greedy(count, out)
        };
        sampler.greedy(context.collective, context.recorder, find, out)
    }
}

/// From a device's error to what could not be done.
fn device_error(what: &'static str) -> impl Fn(candle_core::Error) -> ExecError + Copy {
    move |source| ExecError::Device { what, source }
}

fn kv_bytes(layer: &KvLayer) -> u64 {
    layer.k.bytes() + layer.v.bytes()
}
