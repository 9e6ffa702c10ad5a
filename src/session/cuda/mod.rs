//! `--device cuda`: a rank on each of the first GPUs.

mod memory;
mod places;
mod start;

pub(super) use start::start;

const GIB: f64 = (1_u64 << 30) as f64;
