//! The CUDA kernels, each against the plain reference on random shapes: on whatever GPU answers, which in CI is
//! the virtual one.

mod activity;
mod attention;
mod card;
mod cards;
mod case;
mod chain;
mod cli;
#[path = "../cli_support/mod.rs"]
mod cli_support;
#[path = "../common/mod.rs"]
mod common;
mod elementwise;
mod exchange;
mod experts;
#[cfg(feature = "nccl")]
mod failure;
mod fp8;
mod gemv;
mod kv;
mod ledger;
mod left_out;
mod linear;
mod model;
mod profile;
mod ranks;
mod registers;
mod report;
mod roof;
mod sampling;
mod scaled;
mod support;
mod telemetry;
