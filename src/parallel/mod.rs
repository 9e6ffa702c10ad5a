//! How ranks act as one: which slice of the model each holds, and the collective operations between
//! them.

#[cfg(feature = "cuda")]
pub mod gpus;
#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(feature = "nccl")]
pub mod nccl;
#[cfg(all(feature = "cuda", not(feature = "nccl")))]
#[path = "no_nccl.rs"]
pub mod nccl;
mod processes;
mod rules;
pub mod shard;
mod solo;
mod split;
mod threads;
mod unmet;
mod ways;

use std::sync::Arc;

use candle_core::{Result, bail};

use crate::ground::recorder::Traffic;
use crate::ops::{Buffer, Norm};

pub use processes::Processes;
pub use rules::{ShardError, broken_rule, legal};
pub use shard::{RankShape, ShardPlan};
pub use solo::Solo;
pub use split::Split;
pub use threads::Threads;
pub use unmet::Unmet;
pub use ways::{AllReduce, LARGEST, SMALLEST, UnknownAllReduce, Way, Ways};

/// Why another rank will not come; `None`: it may. For whoever waits elsewhere, on any thread.
pub type Failed = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// One rank's view of its peers. Every rank makes the same calls in the same order, and each result
/// is the same to the bit on all of them.
///
/// # Errors
/// Another rank failed or cannot be reached: this one must end its step.
pub trait Collective {
    fn rank(&self) -> usize;

    fn size(&self) -> usize;

    /// Sums the first `rows` rows of `x` over all ranks, in place, in rank order.
    fn all_reduce(&self, x: &Buffer, rows: usize) -> Result<()>;

    /// Whether [`Self::all_reduce_norm`] is one launch for `rows` rows of `delta`. The same on every rank.
    fn norms(&self, _delta: &Buffer, _rows: usize) -> Result<bool> {
        Ok(false)
    }

    /// [`Self::all_reduce`] of `delta` and [`Kernels::add_norm`] behind it, with the bits of both; `delta` is left as it
    /// was.
    ///
    /// [`Kernels::add_norm`]: crate::ops::Kernels::add_norm
    fn all_reduce_norm(
        &self,
        _delta: &Buffer,
        _x: &Buffer,
        _norm: &Norm,
        _rows: usize,
        _out: &Buffer,
    ) -> Result<()> {
        bail!("these ranks add up, and normalise on their own")
    }

    /// Leaves in the first `count` of `keys`, i64 `[1, at least count]`, the highest of all ranks', as unsigned numbers:
    /// for ranks whose devices work ahead of their hosts, and then in order with [`Self::all_reduce`].
    fn agree(&self, keys: &Buffer, count: usize) -> Result<()> {
        match self.size() {
            1 => Ok(()),
            _ => bail!(
                "{count} keys of {:?} are for hosts to compare",
                keys.device()
            ),
        }
    }

    /// Overwrites `all` with the words of every rank, in rank order. All bring as many.
    fn all_gather(&self, mine: &[u32], all: &mut Vec<u32>) -> Result<()>;

    /// What went between the ranks since the last call.
    fn take_traffic(&self) -> Traffic;

    /// What this rank is told of the others' failures.
    fn failed(&self) -> Failed {
        Arc::new(|| None)
    }
}
