//! What happened to a request, each with one time stamp from the run's clock.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::{RequestId, TokenLogprobs};

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub time: Duration,
    pub request: RequestId,
    pub kind: EventKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// Handed to the engine.
    Queued,
    /// First scheduled: left the waiting queue. So many tokens of its prompt were found in the prefix cache; `None`: it
    /// was off.
    Admitted {
        cached_tokens: Option<usize>,
    },
    /// An output token id became visible on the host.
    Token {
        token: u32,
        logprobs: Option<Box<TokenLogprobs>>,
    },
    /// Gave its KV blocks back; its tokens so far will be recomputed.
    Preempted,
    Finished(FinishReason),
    /// Ended without completing, with the reason as a sentence.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// Reached the asked number of tokens.
    Length,
    /// Generated an end token.
    Stop,
    /// Given up by whoever sent it, as the load asked.
    Cancelled,
    /// The run ended before it did.
    Cut,
}

impl FinishReason {
    /// The answer is whole.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Length | Self::Stop)
    }
}
