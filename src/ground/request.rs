//! One unit of work for the engine.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Position of the request in its run, from 0.
pub type RequestId = u64;

/// A prompt and what to generate after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: RequestId,
    /// Token ids, never empty.
    pub prompt: Arc<[u32]>,
    pub stop: StopRule,
    pub sampling: Sampling,
    /// Scheduled arrival on the run's clock.
    pub arrival: Duration,
}

/// When generation ends: at `max_tokens`, or earlier at one of `end_tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopRule {
    /// Output tokens, at least 1.
    pub max_tokens: usize,
    /// Ids that end the output (the end token itself is counted as output). Empty: exact length.
    pub end_tokens: Arc<[u32]>,
}

/// How the next token is drawn. Temperature 0 is greedy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of most likely tokens whose probability reaches p; 1 keeps all.
    pub top_p: f32,
    /// Draws depend on (seed, request id, position) only, never on the batch.
    pub seed: u64,
    /// Report the log-probability of the drawn token and of this many alternatives.
    pub logprobs: Option<usize>,
}

impl Sampling {
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        seed: 0,
        logprobs: None,
    };

    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }
}

/// Natural-log probabilities at temperature 1 of one generated token and its best alternatives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprobs {
    pub token_id: u32,
    pub logprob: f32,
    /// `(token id, log-probability)`, best first.
    pub top: Vec<(u32, f32)>,
}
