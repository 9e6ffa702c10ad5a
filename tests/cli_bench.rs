//! `bench` through the program: what it prints and writes, and how it ends.

mod cli_support;

#[path = "cli_bench/ends.rs"]
mod ends;
#[path = "cli_bench/held_up.rs"]
mod held_up;
#[path = "cli_bench/outputs.rs"]
mod outputs;
#[path = "cli_bench/places.rs"]
mod places;
#[path = "cli_bench/ranks.rs"]
mod ranks;
#[path = "cli_bench/recompute.rs"]
mod recompute;
#[path = "cli_bench/references.rs"]
mod references;
#[path = "cli_bench/thousand.rs"]
mod thousand;
