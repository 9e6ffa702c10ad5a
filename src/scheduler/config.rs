//! Limits and policy of a scheduler, and what it refuses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ground::RequestId;

/// More blocks than this would not leave room for list anchors beside them in 32-bit ids.
const MAX_BLOCKS: usize = 1 << 30;

/// Tokens in the whole pool: far above any real KV cache, and small enough to index.
const MAX_POOL_TOKENS: usize = 1 << 32;

/// Blocks that a pool needs at least: the null block and one to use.
const MIN_BLOCKS: usize = 2;

/// Which work goes into a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Running requests first, then waiting ones, prefill and decode in one step (vLLM's rule).
    #[default]
    Mixed,
    /// Prefill before decode, never both in one step.
    PrefillFirst,
    /// As `Mixed`, but a request is admitted only when all running ones could reach their full length: no preemption.
    Reserve,
}

impl Policy {
    const ALL: [Self; 3] = [Self::Mixed, Self::PrefillFirst, Self::Reserve];

    fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::PrefillFirst => "prefill-first",
            Self::Reserve => "reserve",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = SchedulerError;

    fn from_str(text: &str) -> Result<Self, SchedulerError> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or_else(|| SchedulerError::UnknownPolicy(text.to_owned()))
    }
}

/// The limits, under vLLM's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerConfig {
    pub policy: Policy,
    /// Requests that hold KV blocks at a time.
    pub max_num_seqs: usize,
    /// Tokens computed in one step. May be below `max_num_seqs`: the youngest then wait their turn.
    pub max_num_batched_tokens: usize,
    /// Prompt plus output tokens of one request.
    pub max_model_len: usize,
    /// Tokens in a KV block.
    pub block_size: usize,
    /// Blocks in the KV cache, the null block included.
    pub num_blocks: usize,
    /// Reuse the KV blocks of equal prompt prefixes.
    pub prefix_cache: bool,
}

impl SchedulerConfig {
    /// Refuses limits under which nothing could ever run, and pools beyond any real memory.
    pub fn validate(&self) -> Result<(), SchedulerError> {
        let limits = [
            ("max_num_seqs", self.max_num_seqs),
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_model_len", self.max_model_len),
            ("block_size", self.block_size),
        ];
        if let Some((name, _)) = limits.into_iter().find(|&(_, value)| value == 0) {
            return Err(SchedulerError::ZeroLimit(name));
        }
        if self.num_blocks < MIN_BLOCKS {
            return Err(SchedulerError::NoBlocks(self.num_blocks));
        }
        let tokens = self.num_blocks.saturating_mul(self.block_size);
        if self.num_blocks > MAX_BLOCKS || tokens > MAX_POOL_TOKENS {
            return Err(SchedulerError::PoolTooLarge {
                num_blocks: self.num_blocks,
                block_size: self.block_size,
            });
        }
        Ok(())
    }

    /// Blocks that requests can use: all but the null block.
    pub fn usable_blocks(&self) -> usize {
        self.num_blocks.saturating_sub(1)
    }
}

/// Why a scheduler cannot be built, or a request cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchedulerError {
    #[error("the scheduler policy {0:?} is unknown: use mixed, prefill-first or reserve")]
    UnknownPolicy(String),
    #[error("{0} is 0, so nothing could run: set it to at least 1")]
    ZeroLimit(&'static str),
    #[error(
        "the KV cache has {0} blocks, but one is the null block and requests need at least one more: give the KV cache more memory"
    )]
    NoBlocks(usize),
    #[error(
        "a KV cache of {num_blocks} blocks of {block_size} tokens is beyond what can be indexed (2^30 blocks, 2^32 tokens): give the KV cache less memory or use smaller blocks"
    )]
    PoolTooLarge {
        num_blocks: usize,
        block_size: usize,
    },
    #[error("request {0} has an empty prompt: give it at least one token")]
    EmptyPrompt(RequestId),
    #[error("request {0} asks for 0 output tokens: ask for at least 1")]
    NoOutput(RequestId),
    #[error("request {0} is already queued: give each request an id of its own")]
    DuplicateId(RequestId),
    #[error(
        "request {id} needs {prompt_tokens} prompt + {max_tokens} output tokens, more than max_model_len {max_model_len}: shorten it or raise --max-model-len"
    )]
    TooLong {
        id: RequestId,
        prompt_tokens: usize,
        max_tokens: usize,
        max_model_len: usize,
    },
    #[error(
        "request {id} with {prompt_tokens} prompt + {max_tokens} output tokens needs {needed} KV blocks of {block_size} tokens, more than the {available} of the whole KV cache: shorten it or give the KV cache more memory"
    )]
    TooManyBlocks {
        id: RequestId,
        prompt_tokens: usize,
        max_tokens: usize,
        needed: usize,
        block_size: usize,
        available: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SchedulerConfig {
        SchedulerConfig {
            policy: Policy::Mixed,
            max_num_seqs: 4,
            max_num_batched_tokens: 8,
            max_model_len: 64,
            block_size: 4,
            num_blocks: 9,
            prefix_cache: false,
        }
    }

    #[test]
    fn policies_are_read_as_they_are_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(json, format!("\"{policy}\""));
        }
        let error = "fair".parse::<Policy>().unwrap_err();
        assert!(error.to_string().contains("\"fair\""));
    }

    #[test]
    fn a_limit_of_zero_is_refused_by_name() {
        let with = |change: fn(&mut SchedulerConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(config().validate().is_ok());
        assert!(with(|c| c.max_num_seqs = 0).starts_with("max_num_seqs is 0"));
        assert!(with(|c| c.max_num_batched_tokens = 0).starts_with("max_num_batched_tokens is 0"));
        assert!(with(|c| c.max_model_len = 0).starts_with("max_model_len is 0"));
        assert!(with(|c| c.block_size = 0).starts_with("block_size is 0"));
        assert!(with(|c| c.num_blocks = 1).contains("has 1 blocks"));
        assert!(with(|c| c.num_blocks = MAX_BLOCKS + 1).contains("beyond what can be indexed"));
        assert!(with(|c| c.block_size = usize::MAX).contains("beyond what can be indexed"));
    }
}
