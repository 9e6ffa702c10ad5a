//! Steps that a device takes ahead of the host: as graphs, and two at a time.

use candle_core::bail;

use super::{Rank, begin, device_error};
use crate::exec::graphs::{Graph, GraphLimits};
use crate::exec::sample::Sampler;
use crate::exec::{ExecError, StepOutput, StepPlan};
use crate::ground::recorder::Cost;
use crate::model::Context;
use crate::ops::nothing::Nothing;
use crate::ops::{Buffer, Pick, Queue, Sampled};

/// A step that the device has been given.
pub struct Queued {
    /// Answers that it will have.
    rows: usize,
    cost: Cost,
}

impl Rank {
    /// Keeps a graph for each of the largest buckets of decode steps that `limits` allow, at most `most` of them, until
    /// `is_stopped`.
    pub fn capture(
        &mut self,
        limits: &GraphLimits,
        most: usize,
        is_stopped: impl Fn() -> bool,
    ) -> Result<(), ExecError> {
        let failed = device_error(
            "a decode step could not be captured as a CUDA graph; --no-cuda-graphs runs without",
        );
        let GraphLimits {
            rows,
            step_rows,
            max_blocks,
        } = *limits;
        let Some(queue) = self.backend.queue() else {
            return Ok(());
        };
        queue.reserve(step_rows, rows, max_blocks).map_err(failed)?;
        for rows in limits.buckets().into_iter().rev().take(most) {
            if is_stopped() {
                break;
            }
            let plan = limits.plan(rows);
            // Kernels are compiled and scratch is allocated by a step that runs.
            self.run(&plan, &mut Sampler::default(), &mut Vec::new())
                .map_err(device_error("a step failed"))?;
            let context = self.context();
            let mut work = || {
                let hidden = self.forward(&plan, &context)?;
                self.decoder.queue_greedy(hidden, rows, &context, queue)?;
                Ok(())
            };
            let replay = queue.capture(&mut work).map_err(failed)?;
            self.graphs.keep(*limits, rows, replay);
        }
        self.recorder.take_total();
        Ok(())
    }

    /// Whether [`Self::queue`] can take `plan`.
    pub fn can_queue(&self, plan: &StepPlan) -> bool {
        // What experts were read is asked after each step, when no other is under way.
        self.backend.queue().is_some()
            && self.decoder.expert_bytes().is_none()
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
        let queued = self.queued.pop_front().zip(self.backend.queue());
        let Some((Queued { rows, cost }, queue)) = queued else {
            return Err(ExecError::NothingQueued);
        };
        let find = |out: &mut Vec<_>| queue.collect_greedy(rows, out);
        let (collective, recorder) = (self.collective.as_ref(), &self.recorder);
        self.sampler
            .greedy(collective, recorder, find, &mut output.sampled)
            .map_err(device_error("a step failed"))?;
        output.cost = cost;
        output.traffic = self.collective.take_traffic();
        Ok(())
    }

    fn queue_step(&self, plan: &StepPlan) -> candle_core::Result<()> {
        let queue = self.queue_of_backend()?;
        let count = plan.picks.len();
        match self.graphs.of(plan) {
            Some(graph) => {
                self.start_graph(graph, plan)?;
                queue.send_greedy(graph.rows())?;
                let nothing = Nothing(self.backend.activations());
                let (hidden, context) = self.count(plan, &nothing)?;
                self.decoder
                    .greedy(hidden, count, &context, &mut Vec::new())
            }
            None => {
                let context = self.context();
                let hidden = self.hidden(plan, &context)?;
                self.decoder.queue_greedy(hidden, count, &context, queue)?;
                queue.send_greedy(count)
            }
        }
    }

    fn queue_of_backend(&self) -> candle_core::Result<&dyn Queue> {
        match self.backend.queue() {
            Some(queue) => Ok(queue),
            None => bail!("{} queues no steps", self.backend.name()),
        }
    }

    fn start_graph(&self, graph: &Graph, plan: &StepPlan) -> candle_core::Result<()> {
        begin(self.backend.as_ref(), &graph.pad(plan))?;
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
        Ok((self.forward(plan, &context)?, context))
    }

    /// A decode step by its graph.
    pub(super) fn replay(
        &self,
        graph: &Graph,
        plan: &StepPlan,
        sampler: &mut Sampler,
        out: &mut Vec<Sampled>,
    ) -> candle_core::Result<()> {
        self.start_graph(graph, plan)?;
        let nothing = Nothing(self.backend.activations());
        let (hidden, context) = self.count(plan, &nothing)?;
        let (decoder, count) = (&self.decoder, plan.picks.len());
        if !plan.picks.iter().all(Pick::is_argmax) {
            let logits = decoder.logits(hidden, count, &context)?;
            return self.draw(logits, plan, sampler, out);
        }
        let queue = self.queue_of_backend()?;
        let find = |out: &mut Vec<_>| {
            queue.send_greedy(graph.rows())?;
            decoder.greedy(hidden, count, &context, &mut Vec::new())?;
            queue.collect_greedy(count, out)
        };
        sampler.greedy(context.collective, context.recorder, find, out)
    }
}
