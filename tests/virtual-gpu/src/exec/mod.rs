//! Runs kernels: warps in lockstep, blocks in shuffled order on all cores.

pub mod access;
pub mod approximate;
pub mod atomic;
pub mod barrier;
mod block;
pub mod copy_async;
pub mod counters;
pub mod directed;
pub mod exchange;
mod fault;
pub mod floats;
mod grid;
pub mod kernel;
pub mod lanes;
pub mod matrix;
pub mod order;
mod poll;
mod races;
pub mod registers;
mod remote;
mod rows;
mod shared;
mod sight;
pub mod under_way;
mod warp;
pub mod windows;

pub use fault::{Cause, KernelFault};
pub use grid::{Grid, Launch, Limits, Progress, run};
