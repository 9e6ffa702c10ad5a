//! Mixtures of experts and weights in blocks of FP8: golden tokens at every split, oracles on random
//! configurations, both layouts of checkpoints, and slices of the largest models.

mod cli_support;
mod common;

#[path = "experts/activations.rs"]
mod activations;
#[path = "experts/cache.rs"]
mod cache;
#[path = "experts/checkpoint.rs"]
mod checkpoint;
#[path = "experts/command.rs"]
mod command;
#[path = "experts/golden.rs"]
mod golden;
#[path = "experts/oracle.rs"]
mod oracle;
#[path = "experts/slices.rs"]
mod slices;

use candlepower::parallel::Split;

/// Experts by columns, and whole.
fn by_columns(tp: usize) -> Split {
    tp.into()
}

fn whole(tp: usize) -> Split {
    Split {
        tp,
        expert_parallel: true,
    }
}
