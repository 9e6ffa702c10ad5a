//! A virtual GPU: CUDA's libraries for a machine without one. What it is and is not: README.md.

pub mod calls;
pub mod decode;
pub mod driver;
pub mod exec;
mod libraries;
pub mod memory;
pub mod ptx;
