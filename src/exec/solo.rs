//! One CPU rank, run on the caller's thread and workers of its own.

use std::sync::Arc;

use super::{ExecError, Executor, KvLayout, Rank, StepOutput, StepPlan, Ticket};
use crate::ground::results::{RankMemory, Roofs};
use crate::ops::cpu::workers::Workers;
use crate::ops::cpu::{pin, roof};

/// The threads of one rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    pub count: usize,
    /// Each bound to a CPU of its own.
    pub pinned: bool,
}

impl From<usize> for Threads {
    fn from(count: usize) -> Self {
        Self {
            count,
            pinned: false,
        }
    }
}

pub struct Solo {
    workers: Workers,
    rank: Rank,
    /// Decides whether a KV cache can be real.
    machine_memory: u64,
    kv_elements_per_token: u64,
    has_kv: bool,
    issued: u64,
    /// The step that was submitted and not waited for.
    open: Option<u64>,
    output: StepOutput,
}

impl Solo {
    /// Builds the rank among its workers, so that packing uses the same threads as the steps.
    ///
    /// `kv_elements_per_token` and `machine_memory` (bytes) bound the cache before it is allocated.
    pub fn load(
        threads: impl Into<Threads>,
        machine_memory: u64,
        kv_elements_per_token: usize,
        build: impl FnOnce() -> candle_core::Result<Rank>,
    ) -> Result<Self, ExecError> {
        let threads = threads.into();
        let mut workers = Workers::new(threads.count).map_err(|e| ExecError::Threads {
            threads: threads.count,
            reason: e.to_string(),
        })?;
        if threads.pinned {
            workers
                .install(pin::pin_workers)
                .map_err(|e| ExecError::Pin(e.to_string()))?;
        }
        let rank = workers.install(build).map_err(|source| ExecError::Device {
            what: "the model could not be loaded",
            source,
        })?;
        Ok(Self {
            workers,
            rank,
            machine_memory,
            kv_elements_per_token: kv_elements_per_token as u64,
            has_kv: false,
            issued: 0,
            open: None,
            output: StepOutput::default(),
        })
    }

    /// The rank itself, among its workers: for comparisons that need more than tokens.
    pub fn with_rank<R>(&mut self, f: impl FnOnce(&mut Rank) -> R) -> R {
        let rank = &mut self.rank;
        self.workers.install(|| f(rank))
    }
}

impl Executor for Solo {
    fn memory(&self) -> Vec<RankMemory> {
        vec![self.rank.memory()]
    }

    fn measure_roofs(&mut self) -> Option<Roofs> {
        let (read_bytes_per_s, flop_per_s) = self
            .workers
            .install(|| (roof::read_bandwidth(), roof::multiply_add_peak()));
        Some(Roofs {
            read_bytes_per_s,
            flop_per_s,
        })
    }

    fn allocate_kv(&mut self, layout: &KvLayout) -> Result<(), ExecError> {
        let elements = (layout.num_blocks * layout.block_size) as u64 * self.kv_elements_per_token;
        let bytes = elements * layout.dtype.size_in_bytes() as u64;
        if bytes > self.machine_memory {
            return Err(ExecError::KvMemory {
                blocks: layout.num_blocks,
                bytes,
                memory: self.machine_memory,
            });
        }
        self.rank.allocate_kv(layout)?;
        self.has_kv = true;
        Ok(())
    }

    fn submit(&mut self, plan: Arc<StepPlan>) -> Result<Ticket, ExecError> {
        if !self.has_kv {
            return Err(ExecError::NoKv);
        }
        let mut output = std::mem::take(&mut self.output);
        let outcome = self.with_rank(|rank| rank.step(&plan, &mut output));
        self.output = output;
        outcome?;
        self.issued += 1;
        self.open = Some(self.issued);
        Ok(Ticket(self.issued))
    }

    fn wait(&mut self, ticket: Ticket, output: &mut StepOutput) -> Result<(), ExecError> {
        if self.open.take_if(|open| *open == ticket.0).is_none() {
            return Err(ExecError::Ticket(ticket.0));
        }
        // The caller's buffer serves the next step.
        std::mem::swap(&mut self.output, output);
        Ok(())
    }
}
