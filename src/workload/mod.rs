//! The work of a run: which prompts, how many output tokens, arriving when.

pub mod arrivals;
mod conversations;
pub mod dataset;
pub mod lengths;
mod prompt;
mod rate;
mod synthetic;

use std::sync::Arc;

use crate::text::TokenPool;

pub use arrivals::{ArrivalError, Arrivals};
pub use conversations::{Conversations, Turns};
pub use dataset::{Dataset, DatasetError};
pub use lengths::Lengths;
pub use prompt::Prompt;
pub use rate::Rate;
pub use synthetic::{Drawn, Prefixes, Synthetic};

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
    /// Another prompt for every request.
    Synthetic(Synthetic),
    /// Turns that each wait for the answer to the one before.
    Conversations(Conversations),
    /// One prompt for all.
    Fixed { prompt: Arc<[u32]>, lengths: Drawn },
    /// The items in turn, from the start again when they run out.
    Dataset(Arc<Dataset>),
}

impl Work {
    /// Random ids of `pool`, another prompt for every request.
    pub fn synthetic(
        input: impl Into<Lengths>,
        output: impl Into<Lengths>,
        pool: TokenPool,
    ) -> Self {
        Self::Synthetic(Synthetic::new(Drawn::new(input, output), pool.into()))
    }

    /// One prompt for all.
    pub fn fixed(prompt: Vec<u32>, output: impl Into<Lengths>) -> Self {
        let lengths = Drawn::new(prompt.len(), output);
        let prompt = prompt.into();
        Self::Fixed { prompt, lengths }
    }

    /// The `index`-th request under `seed`; of conversations the first turn of the `index`-th.
    pub fn item(&self, index: usize, seed: u64) -> WorkItem {
        match self {
            Self::Synthetic(synthetic) => synthetic.item(index, seed),
            Self::Conversations(talks) => talks.turn(index, 0, seed),
            Self::Fixed { prompt, lengths } => WorkItem {
                prompt: prompt.clone(),
                output_len: lengths.draw(item_seed(seed, index)).1,
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

    /// What a context must hold, or requests are not those asked for.
    pub fn least_room(&self) -> usize {
        match self {
            Self::Synthetic(synthetic) => synthetic.least_room(),
            Self::Conversations(talks) => talks.least_room(),
            Self::Fixed { lengths, .. } => lengths.least_room(),
            Self::Dataset(_) => self.longest(),
        }
    }

    /// With the tails of drawn lengths cut so that no request is longer, which is at least [`Self::least_room`].
    pub fn within(self, longest: usize) -> Self {
        match self {
            Self::Synthetic(synthetic) => Self::Synthetic(synthetic.within(longest)),
            Self::Conversations(talks) => Self::Conversations(talks.within(longest)),
            Self::Fixed { prompt, lengths } => Self::Fixed {
                prompt,
                lengths: lengths.within(longest),
            },
            Self::Dataset(items) => Self::Dataset(items),
        }
    }

    /// Tokens of the longest request that there may be: prompt and output.
    pub fn longest(&self) -> usize {
        match self {
            Self::Synthetic(synthetic) => synthetic.longest(),
            Self::Conversations(talks) => talks.longest(),
            Self::Fixed { lengths, .. } => lengths.longest(),
            Self::Dataset(items) => items
                .iter()
                .map(|item| item.prompt.len() + item.output_len)
                .max()
                .unwrap_or(0),
        }
    }
}

/// Keeps the prompts of neighbouring requests and seeds apart.
pub(crate) fn item_seed(seed: u64, index: usize) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    seed.wrapping_mul(ODD).wrapping_add(index as u64)
}
