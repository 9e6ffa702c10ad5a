//! Will this model run on that hardware, with what context and concurrency, and if not, what is the
//! nearest change that does: arithmetic over plain data, no weights and no GPU.
//!
//! An [`Ask`] is the question, an [`Answer`] the verdict with the ledger it rests on. `vllm` does the sum
//! as a release of vLLM does it, `candlepower` as our own engine owns its memory.

mod answer;
mod ask;
mod candlepower;
mod explain;
mod fixes;
mod ledger;
mod quantised;
mod reason;
mod releases;
mod rules;
mod scratch;
mod terms;
mod verdict;
mod vllm;

pub use answer::{Answer, PerRank, answer};
pub use ask::{Ask, Card, Engine, KvType, Limits, Load, StoredBytes};
pub use fixes::Fix;
pub use releases::{Release, UnknownRelease};
pub use verdict::Verdict;
