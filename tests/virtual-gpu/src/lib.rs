//! A virtual GPU: CUDA's libraries for a machine without one. What it is and is not: README.md.

pub mod decode;
pub mod exec;
pub mod memory;
pub mod ptx;
