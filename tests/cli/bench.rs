//! `bench` through the program: what it prints and writes, and how it ends.

mod ends;
mod headline;
mod held_up;
mod outputs;
mod pacing;
mod places;
mod ranks;
pub mod recompute;
mod references;
mod thousand;
