//! What an engine is asked, and what it answers: a stage of the model, and its memory term by term.

use std::ops::Range;

use super::ask::{Ask, GIB};
use crate::parallel::ShardPlan;

/// Bytes of one term, and the arithmetic behind them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub bytes: u64,
    pub how: String,
}

impl Item {
    pub fn gib(&self) -> f64 {
        self.bytes as f64 / GIB
    }

    pub fn from_gib(gib: f64, how: impl Into<String>) -> Self {
        Self {
            bytes: (gib * GIB) as u64,
            how: how.into(),
        }
    }
}

/// The engine's limits, its defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Settings {
    pub max_model_len: usize,
    pub utilization: f64,
    pub max_num_seqs: usize,
    pub max_num_batched_tokens: usize,
}

/// One pipeline stage, as its rank 0 holds it: no other rank holds more.
pub(super) struct Stage<'a> {
    pub ask: &'a Ask,
    pub plan: &'a ShardPlan,
    pub settings: Settings,
    pub layers: Range<usize>,
    pub last: bool,
    /// Bytes of its weights in the plan.
    pub weights: u64,
}

/// What the engine makes of a stage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terms {
    pub weights: Item,
    pub activations: Item,
    /// Communication, libraries and the CUDA context.
    pub overhead: Item,
    pub graphs: Item,
    /// Of the weights while they are loaded, where that is more.
    pub while_loading: u64,
    /// Whether the budget has room for the graphs; else they come on top of it.
    pub graphs_in_budget: bool,
    /// Bytes that come on top of the budget beside `graphs`, which is an estimate then.
    pub beyond_graphs: u64,
    /// Bytes of the card that are taken before the engine looks, and that its budget does not count.
    pub before_start: u64,
}

impl Terms {
    /// Bytes of graphs that the budget has no room for.
    pub fn on_top(&self) -> u64 {
        self.beyond_graphs
            + match self.graphs_in_budget {
                true => 0,
                false => self.graphs.bytes,
            }
    }
}
