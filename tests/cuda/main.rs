//! The CUDA kernels, each against the plain reference on random shapes: on whatever GPU answers, which in CI is
//! the virtual one.

#[path = "../common/mod.rs"]
mod common;
mod experts;
mod fp8;
mod linear;
mod roof;
mod scaled;
mod support;
