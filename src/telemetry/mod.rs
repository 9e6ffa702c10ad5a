//! What the machine is and how busy it was while a run went on.

#[cfg(feature = "cuda")]
pub mod cards;
pub mod drivers;
mod gather;
pub mod gpus;
mod idle;
pub mod machine;
pub mod memory;
#[cfg(feature = "cuda")]
pub mod nvml;
pub mod sampler;

pub use gather::gathered;
pub use gpus::GpuProbe;
pub use idle::note_idle_power;
pub use machine::{Machine, machine, utc_now};
pub use memory::{Memory, memory};
#[cfg(feature = "cuda")]
pub use nvml::NvmlProbe;
pub use sampler::{INTERVAL, Sampler, peak_rss, since};
