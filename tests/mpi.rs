//! Ranks as processes of an MPI job, under the mpirun on the path: what they compute, who speaks, and
//! how a job ends when one of them fails.

mod cli_support;

#[path = "mpi/ends.rs"]
mod ends;
#[path = "mpi/hosts.rs"]
mod hosts;
#[path = "mpi/job.rs"]
mod job;
#[path = "mpi/tokens.rs"]
mod tokens;
