//! What goes into the scheduler and what comes out of it.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::block_id::BlockId;
use crate::ground::RequestId;

/// A request as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    pub id: RequestId,
    /// Token ids, never empty.
    pub prompt: Arc<[u32]>,
    /// Output tokens at most, at least 1.
    pub max_tokens: usize,
}

/// The token that a sampling [`Entry`] produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub id: RequestId,
    pub token: u32,
    /// The request ends with this token. Reaching `max_tokens` ends it too.
    pub finished: bool,
}

/// One step: who runs, on how many tokens, in which blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Decision {
    /// In order of arrival.
    pub entries: Vec<Entry>,
    /// Requests that gave their blocks back and wait again, youngest first. None of them has an entry.
    pub preempted: Vec<RequestId>,
    /// Requests scheduled for the first time, in order of arrival.
    pub admitted: Vec<RequestId>,
    /// What the entries append to their block tables, entry after entry.
    pub new_blocks: Vec<BlockId>,
}

impl Decision {
    /// Nothing runs in this step.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tokens computed in this step.
    pub fn num_tokens(&self) -> usize {
        self.entries.iter().map(|entry| entry.num_tokens).sum()
    }

    /// Empties the decision and keeps its buffers.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.preempted.clear();
        self.admitted.clear();
        self.new_blocks.clear();
    }
}

/// The part of one request in a step: its tokens `start..start + num_tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub id: RequestId,
    /// Tokens whose keys and values are in the cache already.
    pub start: usize,
    /// At least 1.
    pub num_tokens: usize,
    /// The entry reaches the end of the request's tokens, so the step yields its next one.
    pub samples: bool,
    /// One token after the newest output token, for a request that already holds all KV before it. Prompt chunks and
    /// the first entry after a preemption are not decode, whatever their length.
    pub is_decode: bool,
    /// Where in [`Decision::new_blocks`] the blocks lie that this entry appends to its block table. For a request
    /// that comes from the waiting queue they are the whole table, blocks found in the prefix cache first.
    pub new_blocks: Range<usize>,
}

impl Entry {
    /// Tokens in the cache after this step.
    pub fn end(&self) -> usize {
        self.start + self.num_tokens
    }
}
