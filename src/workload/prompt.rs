//! What a request asks, made when it is due: a trace of long prompts would not fit in memory at once.

use std::sync::Arc;

use super::item_seed;
use crate::text::TokenPool;

/// The prompt of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    Ids(Arc<[u32]>),
    /// Random ids.
    Drawn {
        len: usize,
        seed: u64,
    },
    /// Random ids in blocks of `block` tokens; equal hashes are equal blocks, so prompts share their beginnings.
    Blocks {
        len: usize,
        block: usize,
        hashes: Arc<[u64]>,
        seed: u64,
    },
}

impl Prompt {
    /// Tokens of the prompt.
    pub fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Drawn { len, .. } | Self::Blocks { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token ids; random ones are of `pool`.
    pub fn ids(&self, pool: &TokenPool) -> Arc<[u32]> {
        match self {
            Self::Ids(ids) => ids.clone(),
            Self::Drawn { len, seed } => pool.synthetic_prompt(*len, *seed).into(),
            Self::Blocks {
                len,
                block,
                hashes,
                seed,
            } => {
                let mut ids = Vec::with_capacity(*len);
                for (at, start) in (0..*len).step_by(*block).enumerate() {
                    // A prompt with too few hashes ends in blocks of its own.
                    let hash = hashes.get(at).copied().unwrap_or(u64::MAX - at as u64);
                    let seed = item_seed(*seed, hash as usize);
                    ids.extend(pool.synthetic_prompt((*len - start).min(*block), seed));
                }
                ids.into()
            }
        }
    }
}
