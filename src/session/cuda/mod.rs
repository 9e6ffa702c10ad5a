//! `--device cuda`: a rank on each of the first GPUs, in this process or in those of an MPI job.

mod loading;
mod memory;
mod places;
mod start;

pub(super) use loading::loading;
pub(super) use start::start;

const GIB: f64 = (1_u64 << 30) as f64;
