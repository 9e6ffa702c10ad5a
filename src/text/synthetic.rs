//! Prompts of an exact length that mean nothing.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::error::TextError;

/// The token ids that synthetic prompts are drawn from, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPool {
    /// Every id below.
    Below(u32),
    Listed(Vec<u32>),
}

impl TokenPool {
    /// Every id below the model's `vocab_size`: for a model without a tokenizer.
    ///
    /// # Errors
    /// `vocab_size` is 0.
    pub fn below(vocab_size: u32) -> Result<Self, TextError> {
        match vocab_size {
            0 => Err(TextError::NoOrdinaryToken { limit: 0 }),
            size => Ok(Self::Below(size)),
        }
    }

    pub(super) fn of(ids: Vec<u32>, limit: u32) -> Result<Self, TextError> {
        match ids.is_empty() {
            true => Err(TextError::NoOrdinaryToken { limit }),
            false => Ok(Self::Listed(ids)),
        }
    }

    /// `length` ids drawn uniformly; the same seed gives the same prompt.
    pub fn synthetic_prompt(&self, length: usize, seed: u64) -> Vec<u32> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut one = || match self {
            Self::Below(limit) => rng.random_range(0..*limit),
            Self::Listed(ids) => ids[rng.random_range(0..ids.len())],
        };
        (0..length).map(|_| one()).collect()
    }
}
