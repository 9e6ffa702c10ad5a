//! Where steps run. Everything above is device-free; everything below is one rank.

pub mod graphs;
mod guard;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod part;
pub mod plan;
pub mod rank;
pub mod ranks;
pub mod sample;
mod seat;
pub mod simulated;
mod tickets;
pub mod times;
pub mod warm_up;

use std::sync::Arc;
use std::time::Duration;

use candle_core::DType;

use crate::ground::recorder::{Cost, OpRecord, Traffic};
use crate::ground::results::{RankMemory, Roofs};
use crate::ground::{Clock, ExpertLoad, Progress, Recorded};
use crate::hardware::HardwareError;
use crate::ops::Sampled;
use crate::ops::cpu::rendezvous::Stopped;

use graphs::GraphLimits;
use warm_up::{Headroom, WarmUp};

pub use part::Part;
pub use plan::StepPlan;
pub use rank::Rank;
pub use ranks::Ranks;
pub use seat::{Build, Seat, Threads};
pub use simulated::{Server, Simulated};
pub use times::{DeviceTimes, RankTimes, StepTimes, Times};

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("{what}: {source}")]
    Device {
        what: Box<str>,
        source: candle_core::Error,
    },
    #[error(
        "the CPU thread pool of {threads} threads could not be started: {reason}; use fewer --threads"
    )]
    Threads { threads: usize, reason: String },
    #[error(
        "the threads could not be bound to CPUs: {0}; use fewer --threads or leave out --pin-threads"
    )]
    Pin(String),
    #[error(
        "a KV cache of {blocks} blocks needs {bytes} bytes, and this machine has {memory}; lower --kv-cache-memory"
    )]
    KvMemory {
        blocks: usize,
        bytes: u64,
        memory: u64,
    },
    #[error("rank {rank} stopped at a defect of this program: {message}")]
    Panic { rank: usize, message: String },
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    #[error("the ranks have ended after an earlier error")]
    Ended,
    #[error("operations cannot be timed one by one here; use --device cpu in one process")]
    NoTimelines,
    #[error(
        "--steps {steps}: their operations take about {} MiB, and {} MiB of memory are free; ask for {most} at most",
        bytes >> 20,
        available >> 20
    )]
    TooManySteps {
        steps: usize,
        bytes: u64,
        available: u64,
        most: u64,
    },
    #[error(
        "the processes of this job do not run the same build of candlepower; start the same one on every machine"
    )]
    Unlike,
    #[error("no step is queued")]
    NothingQueued,
    #[error("a step was submitted before allocate_kv")]
    NoKv,
    #[error("ticket {0} was never issued or has been waited for")]
    Ticket(u64),
}

/// The paged cache of every layer; block 0 is the null block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    pub num_blocks: usize,
    pub block_size: usize,
    pub dtype: DType,
}

/// What decides whether a KV cache can be real: a machine's memory, before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvBound {
    /// Bytes.
    pub memory: u64,
    /// Of all ranks on that machine.
    pub elements_per_token: u64,
}

impl KvBound {
    /// # Errors
    /// The cache is larger than the memory.
    pub fn check(&self, layout: &KvLayout) -> Result<(), ExecError> {
        let tokens = (layout.num_blocks * layout.block_size) as u64;
        let bytes = tokens * self.elements_per_token * layout.dtype.size_in_bytes() as u64;
        if bytes > self.memory {
            return Err(ExecError::KvMemory {
                blocks: layout.num_blocks,
                bytes,
                memory: self.memory,
            });
        }
        Ok(())
    }
}

/// A submitted step.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// What came back from a step.
#[derive(Debug, Clone, Default)]
pub struct StepOutput {
    /// One for each of the plan's `picks`, in their order.
    pub sampled: Vec<Sampled>,
    /// Bytes and FLOPs of the step's operations on all ranks, by formula.
    pub cost: Cost,
    /// What went between the ranks, as rank 0 saw it.
    pub traffic: Traffic,
    pub times: Times,
    /// Of each rank of this process, in their order; empty of a single one, and where they were not timed.
    pub ranks: Vec<RankTimes>,
    /// This rank's own part of `times`.
    pub device: Option<DeviceTimes>,
    /// Part of the step in which a simulated server kept the devices waiting; a real one's host is seen
    /// from outside.
    pub host: Duration,
}

/// Runs steps on the ranks it was loaded with.
pub trait Executor {
    /// Of each rank, in their order.
    fn memory(&mut self) -> Result<Vec<RankMemory>, ExecError>;
    /// Measures what the devices can do at best; `None` where that cannot be measured. A simulated device
    /// gives its data sheet.
    fn measure_roofs(&mut self) -> Option<Roofs>;
    /// Runs the largest steps, so that whatever is taken or compiled for them is there; what each rank's device has left,
    /// in rank order. Nothing is told of devices without a memory of their own.
    fn warm_up(
        &mut self,
        _warm_up: WarmUp,
        _kv: DType,
        _graphs: Option<GraphLimits>,
    ) -> Result<Vec<Headroom>, ExecError> {
        Ok(Vec::new())
    }
    fn allocate_kv(&mut self, layout: &KvLayout) -> Result<(), ExecError>;
    /// Keeps decode steps as graphs, where the devices can, until `progress` says stop.
    fn capture(
        &mut self,
        _graphs: GraphLimits,
        _progress: &Arc<dyn Progress>,
    ) -> Result<(), ExecError> {
        Ok(())
    }
    /// Starts a step. Steps run in the order of their submission.
    fn submit(&mut self, plan: Arc<StepPlan>) -> Result<Ticket, ExecError>;
    /// Whether the next step may be submitted before `plan`, the latest one, has been waited for. That step names the
    /// tokens that `plan` draws by `ground::pending`.
    fn runs_ahead(&self, _plan: &StepPlan) -> bool {
        false
    }
    /// Blocks until the step is done and overwrites `output`. Afterwards the executor holds no
    /// reference to the plan.
    fn wait(&mut self, ticket: Ticket, output: &mut StepOutput) -> Result<(), ExecError>;
    /// From now on every rank keeps a record of each operation, its start on `clock`.
    ///
    /// # Errors
    /// `NoTimelines`, unless the device can.
    fn start_timelines(&mut self, _clock: &Arc<dyn Clock>) -> Result<(), ExecError> {
        Err(ExecError::NoTimelines)
    }
    /// The same by records that the devices keep of the kernels that they ran, while steps run as they do untimed: decode
    /// steps by their graphs, the first of each longer than the others. `Ok(Err)`: why there are none, as a sentence; nothing
    /// is timed then.
    fn start_activity(&mut self, _clock: &Arc<dyn Clock>) -> Result<Result<(), String>, ExecError> {
        Ok(Err("kernels are traced on GPUs of one process".to_owned()))
    }
    /// The operations of each rank since `start_timelines` or `start_activity`, in rank order and in order of their starts;
    /// timing stops. Those of a step started between its submission and the end of the wait for it.
    fn take_timelines(&mut self) -> Result<Vec<Vec<OpRecord>>, ExecError> {
        Err(ExecError::NoTimelines)
    }
    /// From now on other processes that have ranks are watched, too, and their GPUs, on `clock`.
    fn start_watching(&mut self, _clock: &Arc<dyn Clock>) -> Result<(), ExecError> {
        Ok(())
    }
    /// What each of them was seen to do since then, in the order of their ranks; empty: there are none, or they are gone.
    fn take_watched(&mut self) -> Result<Vec<Recorded>, ExecError> {
        Ok(Vec::new())
    }
    /// Writes the whole KV cache where memory becomes real only by that: what was never written is read
    /// from one page of zeros, faster than any cache.
    fn touch_kv(&mut self) -> Result<(), ExecError> {
        Ok(())
    }

    /// Tokens that each sparse layer sent to each expert since the weights were loaded; empty where no layer is
    /// sparse, or nothing is routed.
    fn expert_load(&mut self) -> Result<Vec<ExpertLoad>, ExecError> {
        Ok(Vec::new())
    }
}
