//! `bench` through the program: what it prints and writes, and how it ends.

mod ends;
mod headline;
mod outputs;
mod ranks;
mod recompute;
mod references;
mod thousand;
