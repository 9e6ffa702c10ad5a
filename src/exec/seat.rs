//! The CPU threads that ranks share, and a rank built among its own.

use super::{ExecError, Rank};
use crate::ops::cpu::pin;
use crate::ops::cpu::workers::Workers;
use crate::parallel::Collective;

/// Builds a rank from its view of the others, among the rank's own workers.
pub type Build = dyn Fn(Box<dyn Collective>) -> candle_core::Result<Rank> + Send + Sync;

/// The threads of all ranks that share CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// Shared among the ranks; each has at least one.
    pub count: usize,
    /// Each bound to a CPU of its own.
    pub pinned: bool,
}

/// The threads of one rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    pub threads: usize,
    /// How many the ranks before it have.
    first: usize,
    pinned: bool,
    /// Whether every thread of every rank has a core of its own.
    pub spin: bool,
}

impl From<usize> for Threads {
    fn from(count: usize) -> Self {
        Self {
            count,
            pinned: false,
        }
    }
}

impl Threads {
    /// What the one at `index` of `ranks` ranks gets.
    pub fn seat(self, index: usize, ranks: usize) -> Seat {
        let all = self.count.max(ranks);
        let start = |index: usize| index * all / ranks;
        Seat {
            threads: start(index + 1) - start(index),
            first: start(index),
            pinned: self.pinned,
            spin: self.fit(ranks),
        }
    }

    /// Whether every thread of `ranks` ranks has a core of its own.
    pub fn fit(self, ranks: usize) -> bool {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        self.count.max(ranks) <= cores
    }
}

impl Seat {
    /// A rank and its workers, on the calling thread.
    ///
    /// # Errors
    /// A thread cannot be started or bound, or the rank cannot be built.
    pub fn build(
        self,
        collective: Box<dyn Collective>,
        build: &Build,
    ) -> Result<(Workers, Rank), ExecError> {
        let workers = Workers::new(self.threads, self.spin);
        let mut workers = workers.map_err(|e| ExecError::Threads {
            threads: self.threads,
            reason: e.to_string(),
        })?;
        if self.pinned {
            workers
                .install(|| pin::pin_workers(self.first))
                .map_err(|e| ExecError::Pin(e.to_string()))?;
        }
        let built = workers.install(|| build(collective));
        let rank = built.map_err(|source| ExecError::Device {
            what: "the model could not be loaded".into(),
            source,
        })?;
        Ok((workers, rank))
    }
}
