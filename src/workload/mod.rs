//! The work of a run: which prompts, how many output tokens, arriving when.

pub mod arrivals;
pub mod dataset;
mod prompt;
mod rate;

use std::sync::Arc;

use crate::text::TokenPool;

pub use arrivals::{ArrivalError, Arrivals};
pub use dataset::{Dataset, DatasetError};
pub use prompt::Prompt;
pub use rate::Rate;

/// One request before it has a place in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkItem {
    pub prompt: Arc<[u32]>,
    /// Output tokens at most.
    pub output_len: usize,
    /// Seconds from the run's start, where a dataset says so.
    pub arrival: Option<f64>,
}

/// What each request of a run asks.
#[derive(Debug, Clone)]
pub enum Work {
    /// Random ids of `pool`, another prompt for every request.
    Synthetic {
        input_len: usize,
        output_len: usize,
        pool: Arc<TokenPool>,
    },
    /// One prompt for all.
    Fixed {
        prompt: Arc<[u32]>,
        output_len: usize,
    },
    /// The items in turn, from the start again when they run out.
    Dataset(Arc<Dataset>),
}

impl Work {
    /// The `index`-th request under `seed`.
    pub fn item(&self, index: usize, seed: u64) -> WorkItem {
        match self {
            Self::Synthetic {
                input_len,
                output_len,
                pool,
            } => WorkItem {
                prompt: pool
                    .synthetic_prompt(*input_len, item_seed(seed, index))
                    .into(),
                output_len: *output_len,
                arrival: None,
            },
            Self::Fixed { prompt, output_len } => WorkItem {
                prompt: prompt.clone(),
                output_len: *output_len,
                arrival: None,
            },
            Self::Dataset(items) => {
                let item = &items[index % items.len()];
                WorkItem {
                    prompt: items.prompt(item),
                    output_len: item.output_len,
                    // A second pass over the file has no arrival times of its own.
                    arrival: item.arrival.filter(|_| index < items.len()),
                }
            }
        }
    }

    /// Tokens of the longest request: prompt and output.
    pub fn longest(&self) -> usize {
        match self {
            Self::Synthetic {
                input_len,
                output_len,
                ..
            } => input_len + output_len,
            Self::Fixed { prompt, output_len } => prompt.len() + output_len,
            Self::Dataset(items) => items
                .iter()
                .map(|item| item.prompt.len() + item.output_len)
                .max()
                .unwrap_or(0),
        }
    }
}

/// Keeps the prompts of neighbouring requests and seeds apart.
fn item_seed(seed: u64, index: usize) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    seed.wrapping_mul(ODD).wrapping_add(index as u64)
}
