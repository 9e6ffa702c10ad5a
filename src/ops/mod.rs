//! What candle lacks: the operations of a paged decoder, behind one seam for each device.
//!
//! [`Kernels`] are a step's operations over fixed workspace buffers, of which the first `rows` rows take part: a steady step
//! allocates nothing, and a CUDA graph can replay it. [`Backend`] is the device that they run on: what it takes to load a rank
//! there. [`Queue`] is what only a device that runs ahead of the host has. `reference/` is written with plain tensor code and
//! is the oracle for the others.

mod backend;
mod buffer;
mod bytes;
pub mod cost;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod experts;
pub mod held;
mod kernels;
pub mod limits;
pub mod nothing;
mod operands;
mod queue;
pub mod reference;
pub mod row;
pub mod rows;
pub mod sampling;
pub mod scratch;
pub mod storage;
mod weight;

pub use backend::{Backend, DeviceMemory, DeviceRoofs};
pub use buffer::Buffer;
pub use experts::{Expert, ExpertSpace, Experts, Routes, Routing};
pub use kernels::Kernels;
pub use operands::{AttentionShape, HeadNorms, KvLayer, Norm, Rope};
pub use queue::{Queue, Replay};
pub use rows::Rows;
pub use sampling::summary::{Ask, Summary};
pub use sampling::{Pick, Sampled};
pub use weight::{BlockScales, Linear, PartScales, WeightRows};
