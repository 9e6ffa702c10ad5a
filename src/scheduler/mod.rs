//! Which requests run in the next step, on how many tokens and in which blocks of the KV cache.
//!
//! Pure data in, pure data out: no tensors, no clock, no device, no randomness, so that a run can be replayed from
//! its log. One step is `schedule` (a [`Decision`]), its execution by someone else, and `complete` (the sampled
//! tokens come back).
//!
//! ```text
//! config     limits, policy, errors          sequence   one request: tokens, progress, block table
//! decision   what goes in and out            table      all requests, by id and by slot
//! schedule   the rule                        blocks     block pool: reference counts, free list
//! state      the scheduler between steps     prefix     index of full blocks by prefix hash
//! integrity  what must always hold           links      linked lists in flat arrays
//! log        record and replay               block_id   what a block is called
//! recorded   a scheduler that is logged
//! ```

mod block_id;
mod blocks;
mod config;
mod decision;
mod integrity;
mod links;
mod log;
mod prefix;
mod recorded;
mod schedule;
mod sequence;
mod state;
mod table;
#[cfg(test)]
mod tests;

pub use block_id::{BlockId, NULL_BLOCK};
pub use config::{Policy, SchedulerConfig, SchedulerError};
pub use decision::{Decision, Entry, Outcome, Submission};
pub use log::{LogError, LogRecord, SchedulerLog, replay};
pub use recorded::Recorded;
pub use sequence::{Sequence, blocks_at_full_length};
pub use state::Scheduler;
