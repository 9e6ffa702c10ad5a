//! Ranks as processes of an MPI job, under the mpirun on the path: what they compute, who speaks, and
//! how a job ends when one of them fails.

#[path = "../cli_support/mod.rs"]
mod cli_support;
mod ends;
#[cfg(feature = "nccl")]
mod gpus;
mod hosts;
mod job;
mod tokens;
