//! The CUDA kernels, each against the plain reference on random shapes: on whatever GPU answers, which in CI is
//! the virtual one.

mod attention;
#[path = "../common/mod.rs"]
mod common;
mod support;
