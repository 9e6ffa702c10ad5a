//! Operations of a rank, timed: one by one, or by what its device tells of the kernels that it ran.

use std::sync::Arc;

use super::{Rank, begin, device_error};
use crate::exec::graphs::{Graph, Recorded};
use crate::exec::{ExecError, StepPlan};
use crate::ground::Clock;
use crate::ground::recorder::OpRecord;

impl Rank {
    /// From now on operations are timed one by one, on `clock`.
    pub fn start_timeline(&self, clock: Arc<dyn Clock>) {
        let timer = self.backend.timer(true);
        self.read_at_start.set(self.experts_read.get());
        self.recorder.start_timeline(clock, timer);
    }

    /// The same by records that the device keeps, while steps run as they do untimed: decode steps by their graphs, each
    /// captured once more.
    ///
    /// # Errors
    /// Why there are no such records, as a sentence.
    pub fn start_activity(&self, clock: Arc<dyn Clock>) -> Result<(), String> {
        let activity = self.backend.activity();
        let timer = activity.unwrap_or_else(|| Err("no kernels are launched here".to_owned()))?;
        self.read_at_start.set(self.experts_read.get());
        self.recorder.start_timeline(clock, Some(timer));
        Ok(())
    }

    /// Whether a step's operations are those that ran between its submission and the end of the wait for it.
    pub fn is_timing(&self) -> bool {
        self.recorder.is_timing()
    }

    /// The operations since then.
    pub fn take_timeline(&self) -> Result<Vec<OpRecord>, ExecError> {
        let taken = self.recorder.take_timeline();
        self.graphs.forget_recorded();
        let mut records = taken
            .map_err(candle_core::Error::msg)
            .map_err(device_error("operations could not be timed"))?;
        // A device tells of all layers and steps together which experts they read: each gets its part.
        let read = self.experts_read.get();
        let weights = self.expert_bytes(self.read_at_start.get(), read);
        let mut experts: Vec<_> = records.iter_mut().filter(|r| r.name == "experts").collect();
        let each = weights / experts.len().max(1) as u64;
        experts.iter_mut().for_each(|r| r.cost.bytes += each);
        Ok(records)
    }

    /// Queues a decode step by its graph, each of whose operations is timed. All ranks do so at once.
    pub(super) fn queue_recorded(&self, graph: &Graph, plan: &StepPlan) -> Result<(), ExecError> {
        let failed = |source| self.step_error(source);
        begin(self.backend.as_ref(), &graph.pad(plan)).map_err(failed)?;
        let mut kept = graph.recorded();
        let recorded = match kept.take() {
            Some(recorded) => recorded,
            None => self.record(graph, plan)?,
        };
        let recorded = kept.insert(recorded);
        recorded.replay.replay().map_err(failed)?;
        self.recorder.replayed(&recorded.captured);
        let queue = self.queue_of_backend().map_err(failed)?;
        queue.send(graph.rows()).map_err(failed)
    }

    /// Captures a graph's step while its operations are recorded. No rank replays what another still captures: a device that
    /// waits for its peers may hold up its driver.
    fn record(&self, graph: &Graph, plan: &StepPlan) -> Result<Recorded, ExecError> {
        let failed = device_error("a decode step could not be captured to be timed");
        let plan = graph.pad(plan);
        let (context, queue) = (self.context(), self.queue_of_backend().map_err(failed)?);
        let mut work = || {
            let hidden = self.forward(&plan, &context)?;
            let rows = plan.picks.len();
            self.decoder
                .queue_draw(hidden, rows, &context, Some(queue))?;
            Ok(())
        };
        self.meet(false)?;
        let (replay, captured) = self.recorder.captured(|| queue.capture(&mut work));
        let replay = replay.map_err(failed)?;
        self.meet(false)?;
        Ok(Recorded { replay, captured })
    }
}
