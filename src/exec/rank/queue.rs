//! Steps that a device takes ahead of the host: as graphs, and two at a time.

use std::any::Any;

use candle_core::bail;

use super::{Rank, begin, device_error};
use crate::exec::graphs::{Graph, GraphLimits, Timed};
use crate::exec::sample::Sampler;
use crate::exec::warm_up::WarmUp;
use crate::exec::{DeviceTimes, ExecError, StepOutput, StepPlan, Times};
use crate::ground::recorder::{Cost, Timer, Traffic};
use crate::model::Context;
use crate::ops::nothing::Nothing;
use crate::ops::{Pick, Queue, Sampled};
use crate::parallel::{Collective, Unmet};

/// A step that the device has been given.
pub struct Queued {
    /// Answers that it will have.
    rows: usize,
    cost: Cost,
    traffic: Traffic,
    timing: Option<Timing>,
}

/// Marks of a step on the device.
struct Timing {
    around: Box<dyn Timer>,
    exchanges: Exchanges,
}

enum Exchanges {
    Marked(Box<dyn Timer>),
    /// By the graph of so many rows.
    InGraph(usize),
}

/// How a step is given to a device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One operation after the other.
    Eager,
    /// At once, where there is a graph for it.
    Graph,
}

impl Rank {
    /// Takes room for all steps to come and runs some like them without the other ranks, so that nothing is allocated or
    /// loaded later: a driver that does so while any device waits for its peers may wait for that device, for ever.
    pub(super) fn rehearse(
        &self,
        warm_up: &WarmUp,
        graphs: Option<&GraphLimits>,
    ) -> Result<(), ExecError> {
        let Some(queue) = self.backend.queue() else {
            return Ok(());
        };
        let room = warm_up.blocks_of_longest();
        queue
            .reserve(warm_up.rows, warm_up.sequences, room)
            .map_err(device_error("a step has no room"))?;
        if self.collective.size() == 1 {
            return Ok(());
        }
        let decodes = graphs.into_iter().flat_map(|limits| {
            let buckets = limits.buckets().into_iter();
            buckets.map(|rows| limits.plan(rows))
        });
        let peers = Unmet::instead_of(self.collective.as_ref());
        let context = Context {
            collective: &peers,
            ..self.context()
        };
        let run = |plan: StepPlan| {
            let hidden = self.hidden(&plan, &context)?;
            let count = plan.picks.len();
            self.decoder
                .queue_draw(hidden, count, &context, Some(queue))?;
            self.backend.synchronize()
        };
        let rehearsed = warm_up.rehearsals().try_for_each(&run).and_then(|()| {
            queue.try_algorithms();
            let ran = decodes.into_iter().try_for_each(&run);
            ran.and(queue.keep_fastest())
        });
        self.recorder.take_total();
        rehearsed.map_err(device_error("a step without the other ranks failed"))?;
        self.meet(false).map(drop)
    }

    /// Waits until every rank's host has come here; whether any of them brings `is_stopped`.
    pub(super) fn meet(&self, is_stopped: bool) -> Result<bool, ExecError> {
        let mut all = Vec::new();
        let met = self.collective.all_gather(&[is_stopped.into()], &mut all);
        met.map_err(device_error("the ranks did not meet"))?;
        Ok(all.contains(&true.into()))
    }

    /// Keeps a graph for each of the largest buckets of decode steps that `limits` allow, at most `most` of them, until
    /// `is_stopped` on any rank. All ranks do so at once: they capture in one order, and each bucket's step runs before.
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
            // Not while another rank still captures: a device that waits for it may hold up its driver.
            if self.meet(is_stopped())? {
                break;
            }
            let plan = limits.plan(rows);
            // Kernels are compiled, scratch is allocated, algorithms are chosen and ranks are connected by a step that runs.
            self.queue_of_backend().map_err(failed)?.try_algorithms();
            self.queue_as(&plan, Way::Eager)?;
            self.collect(&mut StepOutput::default())?;
            let queue = self.queue_of_backend().map_err(failed)?;
            queue.keep_fastest().map_err(failed)?;
            let (context, queue) = (self.context(), self.queue_of_backend().map_err(failed)?);
            let mut work = || {
                let hidden = self.forward(&plan, &context)?;
                self.decoder.queue_draw(hidden, rows, &context, Some(queue))
            };
            let replay = queue.capture(&mut work).map_err(failed)?;
            let mut timed = None;
            if self.collective.size() > 1
                && let Some(timer) = self.backend.timer(false)
            {
                self.recorder.start_exchanges(timer);
                let replay = queue.capture(&mut work);
                let exchanges = self.recorder.take_exchanges();
                let replay = replay.map_err(failed)?;
                timed = exchanges.map(|exchanges| Timed { replay, exchanges });
            }
            self.graphs.keep(*limits, rows, replay, timed);
        }
        self.recorder.take_total();
        self.collective.take_traffic();
        Ok(())
    }

    /// What a profiler that watches shows of a step.
    pub(super) fn range(&self, plan: &StepPlan) -> Option<Box<dyn Any>> {
        let (tokens, sequences) = (plan.tokens.len(), plan.rows.sequences());
        let name = || format!("step of {tokens} tokens, {sequences} sequences");
        self.backend.range(&name)
    }

    /// Whether the rank's device does what it is given while the host goes on.
    pub fn works_ahead(&self) -> bool {
        self.backend.queue().is_some()
    }

    /// Whether [`Self::queue`] can take `plan`: its tokens are drawn on the device. The same on every rank.
    pub fn can_queue(&self, plan: &StepPlan) -> bool {
        self.backend.queue().is_some()
            && !plan.picks.is_empty()
            && plan.picks.iter().all(Pick::is_highest)
    }

    /// Queues a step; another may be queued before [`Self::collect`] has waited for it.
    pub fn queue(&mut self, plan: &StepPlan) -> Result<(), ExecError> {
        self.queue_as(plan, Way::Graph)
    }

    fn queue_as(&mut self, plan: &StepPlan, way: Way) -> Result<(), ExecError> {
        let _range = self.range(plan);
        // A graph's marks are of its last replay: nobody times two steps at once.
        let is_timed = plan.timed && self.queued.iter().all(|queued| queued.timing.is_none());
        let (mut traffic, timing) = match self.recorded_graph(plan, way) {
            // Nobody asks what it exchanges while its operations are timed.
            Some(graph) => {
                self.queue_recorded(graph, plan)?;
                (Traffic::default(), None)
            }
            None => {
                let counted = self.queue_step(plan, way, is_timed);
                counted.map_err(|source| self.step_error(source))?
            }
        };
        traffic += self.collective.take_traffic();
        self.queued.push_back(Queued {
            rows: plan.picks.len(),
            cost: self.recorder.take_total(),
            traffic,
            timing,
        });
        Ok(())
    }

    /// Waits for the step that was queued first; `output` is overwritten and keeps its buffer.
    pub fn collect(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        let queued = self.queued.pop_front().zip(self.backend.queue());
        let Some((
            Queued {
                rows,
                cost,
                traffic,
                timing,
            },
            queue,
        )) = queued
        else {
            return Err(ExecError::NothingQueued);
        };
        let read = self.sampler.take(queue, rows, &mut output.sampled);
        let read = read.map_err(device_error("a step failed"))?;
        output.cost = cost;
        output.cost.bytes += self.expert_bytes_until(read);
        output.traffic = traffic;
        output.times = Times::Untimed;
        output.device = timing.and_then(|timing| self.times(timing));
        Ok(())
    }

    /// The graph of a step whose operations are timed in it.
    fn recorded_graph(&self, plan: &StepPlan, way: Way) -> Option<&Graph> {
        let graph = self.graphs.of(plan)?;
        (way == Way::Graph && self.recorder.sees_replays()).then_some(graph)
    }

    /// What a graph's collectives bring is counted; others' is the collective's own to tell.
    fn queue_step(
        &self,
        plan: &StepPlan,
        way: Way,
        is_timed: bool,
    ) -> candle_core::Result<(Traffic, Option<Timing>)> {
        let queue = self.queue_of_backend()?;
        let count = plan.picks.len();
        let timer = || is_timed.then(|| self.backend.timer(false)).flatten();
        let mut around = timer();
        let mark = |around: &mut Option<Box<dyn Timer>>| {
            let marked = around.as_mut().map_or(Ok(()), |timer| timer.mark());
            marked.map_err(candle_core::Error::msg)
        };
        match self.graphs.of(plan) {
            Some(graph) if way == Way::Graph && !self.recorder.is_timing() => {
                begin(self.backend.as_ref(), &graph.pad(plan))?;
                mark(&mut around)?;
                match is_timed {
                    true => graph.replay_timed()?,
                    false => graph.replay()?,
                }
                mark(&mut around)?;
                queue.send(graph.rows())?;
                let exchanges = Exchanges::InGraph(graph.rows());
                let timing = around.map(|around| Timing { around, exchanges });
                Ok((self.count(plan)?, timing))
            }
            _ => {
                let context = self.context();
                begin(context.kernels, plan)?;
                mark(&mut around)?;
                if let Some(timer) = timer() {
                    self.recorder.start_exchanges(timer);
                }
                let hidden = self.forward(plan, &context)?;
                self.decoder
                    .queue_draw(hidden, count, &context, Some(queue))?;
                let exchanges = self.recorder.take_exchanges().map(Exchanges::Marked);
                mark(&mut around)?;
                queue.send(count)?;
                let timing = around.zip(exchanges);
                let timing = timing.map(|(around, exchanges)| Timing { around, exchanges });
                Ok((Traffic::default(), timing))
            }
        }
    }

    /// What the marks of a step that is done come to.
    fn times(&mut self, timing: Timing) -> Option<DeviceTimes> {
        let Timing {
            mut around,
            exchanges,
        } = timing;
        let exchanges = match exchanges {
            Exchanges::Marked(mut timer) => timer.times(),
            Exchanges::InGraph(rows) => self.graphs.exchanges(rows),
        };
        DeviceTimes::of(&around.times().ok()?, &exchanges.ok()?)
    }

    pub(super) fn queue_of_backend(&self) -> candle_core::Result<&dyn Queue> {
        match self.backend.queue() {
            Some(queue) => Ok(queue),
            None => bail!("{} queues no steps", self.backend.name()),
        }
    }

    pub(super) fn start_graph(&self, graph: &Graph, plan: &StepPlan) -> candle_core::Result<()> {
        begin(self.backend.as_ref(), &graph.pad(plan))?;
        graph.replay()
    }

    /// While the device replays a step: what it costs and exchanges, by a pass over the decoder that does nothing else.
    fn count(&self, plan: &StepPlan) -> candle_core::Result<Traffic> {
        let nothing = Nothing(self.backend.activations());
        let peers = Unmet::instead_of(self.collective.as_ref());
        let context = Context {
            kernels: &nothing,
            collective: &peers,
            ..self.context()
        };
        let hidden = self.forward(plan, &context)?;
        let rows = plan.picks.len();
        self.decoder.queue_draw(hidden, rows, &context, None)?;
        Ok(peers.take_traffic())
    }

    /// A decode step by its graph, whose tokens the host draws.
    pub(super) fn replay(
        &self,
        graph: &Graph,
        plan: &StepPlan,
        sampler: &mut Sampler,
        out: &mut Vec<Sampled>,
    ) -> candle_core::Result<Traffic> {
        self.start_graph(graph, plan)?;
        let traffic = self.count(plan)?;
        self.draw(self.decoder.written_logits(), plan, sampler, out)?;
        Ok(traffic)
    }
}
