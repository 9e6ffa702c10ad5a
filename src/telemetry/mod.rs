//! What the machine is and how busy it was while a run went on.

pub mod machine;
pub mod memory;
pub mod sampler;

pub use machine::{Machine, machine, utc_now};
pub use memory::{Memory, memory};
pub use sampler::{INTERVAL, Sampler, peak_rss, since};
