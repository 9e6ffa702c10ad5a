//! The CPU's kernels, one operation at a time.

#[path = "../common/mod.rs"]
mod common;
#[macro_use]
#[path = "../common/fused.rs"]
mod fused;

mod cpu_attention;
mod cpu_e4m3;
mod cpu_experts;
mod cpu_gemm;
mod kernels;
mod pages;
