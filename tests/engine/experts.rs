//! Mixtures of experts and weights in blocks of FP8: golden tokens at every split, oracles on random
//! configurations, both layouts of checkpoints, and slices of the largest models.

mod activations;
mod cache;
mod checkpoint;
mod command;
mod golden;
mod oracle;
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
