//! One rank: its kernels, its share of the model, its part of the KV cache.

mod queue;
mod timeline;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use self::queue::Queued;
use super::graphs::{GraphLimits, Graphs};
use super::sample::{Head, Sampler};
use super::warm_up::{self, Headroom, WarmUp};
use super::{ExecError, KvLayout, StepOutput, StepPlan, Times};
use crate::ground::recorder::{Recorder, Traffic};
use crate::ground::results::RankMemory;
use crate::ground::{ExpertLoad, Progress, Unwatched};
use crate::model::{Context, Decoder};
use crate::ops::{
    Backend, Buffer, DeviceMemory, DeviceRoofs, Kernels, KvLayer, Pick, Sampled, cost,
};
use crate::parallel::Collective;

/// Its fields are dropped in their order: a graph may hold the collective, whose end would wait for it, and all of them
/// hold memory of the backend's.
pub struct Rank {
    graphs: Graphs,
    collective: Box<dyn Collective>,
    kv: Vec<KvLayer>,
    decoder: Decoder,
    backend: Box<dyn Backend>,
    recorder: Recorder,
    progress: Arc<dyn Progress>,
    sampler: Sampler,
    queued: VecDeque<Queued>,
    /// Experts whose weights were read, by what the device tells: until the last step, and when the timeline began.
    experts_read: Cell<u32>,
    read_at_start: Cell<u32>,
}

impl Rank {
    pub fn new(
        backend: Box<dyn Backend>,
        collective: Box<dyn Collective>,
        decoder: Decoder,
    ) -> Self {
        Self {
            graphs: Graphs::default(),
            collective,
            kv: Vec::new(),
            decoder,
            backend,
            recorder: Recorder::default(),
            progress: Arc::new(Unwatched),
            sampler: Sampler::default(),
            queued: VecDeque::new(),
            experts_read: Cell::default(),
            read_at_start: Cell::default(),
        }
    }

    /// Steps fail between two layers once `progress` says stop. Only for ranks that are told of each other's failures.
    pub fn watched(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    pub fn number(&self) -> usize {
        self.collective.rank()
    }

    /// Whether the rank's device hangs, after a rank has failed. Then the rank must not be dropped: a driver would wait.
    pub fn is_lost(&self) -> bool {
        self.backend.is_lost()
    }

    pub fn measure_roofs(&self) -> Option<DeviceRoofs> {
        self.backend.measure_roofs()
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
        self.rehearse(warm_up, graphs.as_ref())?;
        for plan in warm_up.plans() {
            self.step(&plan, &mut StepOutput::default())?;
        }
        let before = self.device_memory()?;
        let mut graph_bytes = 0;
        if let (Some(limits), Some(before)) = (&graphs, before) {
            self.capture(limits, 1, || false)?;
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
        self.backend
            .memory()
            .map_err(device_error("the device's memory could not be read"))
    }

    /// Drops the cache, and the graphs that read it.
    pub fn free_kv(&mut self) {
        self.graphs = Graphs::default();
        self.kv = Vec::new();
    }

    pub fn allocate_kv(&mut self, layout: &KvLayout) -> Result<(), ExecError> {
        self.kv = self
            .decoder
            .kv_cache(
                self.backend.as_ref(),
                layout.num_blocks,
                layout.block_size,
                layout.dtype,
            )
            .map_err(device_error("the KV cache could not be allocated"))?;
        Ok(())
    }

    /// Fills the cache with zeros, which memory of its own then holds: the pages that it had are the system's one page.
    /// Zeros add nothing to a row, so that rows differ as their tokens do.
    pub fn touch_kv(&mut self) -> Result<(), ExecError> {
        let mut buffers = self.kv.iter().flat_map(|layer| [&layer.k, &layer.v]);
        let filled = buffers.try_for_each(|buffer| buffer.zero_set());
        filled.map_err(device_error("the KV cache could not be filled"))
    }

    pub fn memory(&self) -> RankMemory {
        RankMemory {
            rank: self.collective.rank(),
            device: self.backend.device(),
            host: None,
            weights_bytes: self.decoder.weight_bytes(),
            kv_bytes: self.kv.iter().map(kv_bytes).sum(),
            workspace_bytes: self.decoder.workspace_bytes(),
        }
    }

    /// Every rank routes every token, so that each of them knows it all.
    pub fn expert_load(&self) -> Result<Vec<ExpertLoad>, ExecError> {
        // A copy would wait without an end for what the device still does.
        self.backend
            .synchronize()
            .and_then(|()| self.decoder.expert_load())
            .map_err(device_error("the load of the experts could not be read"))
    }

    /// Runs the plan; `output` is overwritten and keeps its buffer.
    pub fn step(&mut self, plan: &StepPlan, output: &mut StepOutput) -> Result<(), ExecError> {
        if self.can_queue(plan) {
            self.queue(plan)?;
            return self.collect(output);
        }
        self.draw_here(plan, output)
    }

    /// A step whose tokens come from what the host is told of the logits.
    fn draw_here(&mut self, plan: &StepPlan, output: &mut StepOutput) -> Result<(), ExecError> {
        let _range = self.range(plan);
        let mut sampler = std::mem::take(&mut self.sampler);
        let outcome = self.sample(plan, &mut sampler, &mut output.sampled);
        self.sampler = sampler;
        output.traffic = outcome.map_err(|source| self.step_error(source))?;
        output.traffic += self.collective.take_traffic();
        output.times = match self.backend.queue() {
            Some(_) => Times::Untimed,
            None => Times::OnHost,
        };
        output.device = None;
        output.cost = self.recorder.take_total();
        output.cost.bytes += self.expert_bytes_until(self.experts_read()?);
        Ok(())
    }

    /// See [`Kernels::experts_read`]; 0 where no layer is sparse.
    fn experts_read(&self) -> Result<u32, ExecError> {
        if self.decoder.expert_bytes().is_none() {
            return Ok(0);
        }
        let read = self.backend.experts_read();
        let read = read.map_err(device_error("the experts that were read are not known"))?;
        Ok(read.unwrap_or(0))
    }

    /// Of the weights of experts that a step has read, after which `read` were read so far. A step that was done before
    /// an earlier one was collected has that one's part.
    fn expert_bytes_until(&self, read: u32) -> u64 {
        let before = self.experts_read.get();
        if read.wrapping_sub(before).cast_signed() < 0 {
            return 0;
        }
        self.experts_read.set(read);
        self.expert_bytes(before, read)
    }

    /// Of the weights of experts read since `before` were read.
    fn expert_bytes(&self, before: u32, read: u32) -> u64 {
        u64::from(read.wrapping_sub(before)) * self.decoder.expert_bytes().unwrap_or(0)
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

    /// The normalised hidden states behind the last layer of the plan's `logit_rows`, `[logit_rows, hidden]`, on the
    /// CPU, by the plan's graph where there is one: what ranks must agree in.
    pub fn hidden_states(&mut self, plan: &StepPlan) -> Result<Tensor, ExecError> {
        let hidden = match self.graphs.of(plan) {
            Some(graph) => self
                .start_graph(graph, plan)
                .map(|()| self.decoder.written_hidden()),
            None => self.hidden(plan, &self.context()),
        };
        hidden
            .and_then(|hidden| hidden.narrow(0, 0, plan.logit_rows.len())?.copy())
            .and_then(|hidden| hidden.to_device(&Device::Cpu))
            .map_err(device_error("a step failed"))
    }

    /// From what went wrong in a step to the operation that it went wrong in.
    fn step_error(&self, source: candle_core::Error) -> ExecError {
        let failed = self.recorder.failed();
        let at = failed.map_or(String::new(), |operation| format!(" at {operation}"));
        // A driver names no device.
        let on = match source {
            candle_core::Error::Cuda(_) => format!(" on {}", self.backend.device()),
            _ => String::new(),
        };
        let what = format!("a step failed{at}{on}").into();
        ExecError::Device { what, source }
    }

    fn context(&self) -> Context<'_> {
        Context {
            kernels: self.backend.as_ref(),
            collective: self.collective.as_ref(),
            recorder: &self.recorder,
            progress: self.progress.as_ref(),
        }
    }

    fn hidden(&self, plan: &StepPlan, context: &Context) -> candle_core::Result<&Buffer> {
        begin(context.kernels, plan)?;
        self.forward(plan, context)
    }

    /// A pass over the decoder for a step that the kernels know of.
    fn forward(&self, plan: &StepPlan, context: &Context) -> candle_core::Result<&Buffer> {
        let StepPlan {
            tokens,
            rows,
            logit_rows,
            ..
        } = plan;
        self.decoder
            .hidden(tokens, rows, logit_rows, &self.kv, context)
    }

    /// What a graph exchanged comes back; the rest is the collective's own to tell.
    fn sample(
        &self,
        plan: &StepPlan,
        sampler: &mut Sampler,
        out: &mut Vec<Sampled>,
    ) -> candle_core::Result<Traffic> {
        match self.graphs.of(plan) {
            Some(graph) if !self.recorder.is_timing() => self.replay(graph, plan, sampler, out),
            _ => {
                self.run(plan, sampler, out)?;
                Ok(Traffic::default())
            }
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
            return self.backend.synchronize();
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
            kernels: self.backend.as_ref(),
            collective: self.collective.as_ref(),
            vocab,
            vocab_size: self.decoder.vocab_size(),
        };
        let cost = cost::sample(plan.picks.len(), vocab.len());
        self.recorder.run("sample", None, cost, || {
            sampler.sample(&head, logits, &plan.picks, out)
        })
    }
}

/// Tells `kernels` of the step.
fn begin(kernels: &dyn Kernels, plan: &StepPlan) -> candle_core::Result<()> {
    let StepPlan {
        tokens,
        rows,
        logit_rows,
        picks,
        timed: _,
    } = plan;
    kernels.begin_step(tokens, rows, logit_rows, picks)
}

/// From a device's error to what could not be done.
fn device_error(what: &'static str) -> impl Fn(candle_core::Error) -> ExecError + Copy {
    move |source| ExecError::Device {
        what: what.into(),
        source,
    }
}

fn kv_bytes(layer: &KvLayer) -> u64 {
    layer.k.bytes() + layer.v.bytes()
}
