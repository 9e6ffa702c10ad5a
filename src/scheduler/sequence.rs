//! One request inside the scheduler.

use super::block_id::BlockId;
use super::decision::Submission;
use super::prefix::{ROOT_HASH, chain_hash};
use crate::ground::{RequestId, pending};

/// Tokens, progress and block table of one request.
#[derive(Debug)]
pub struct Sequence {
    id: RequestId,
    tokens: Vec<u32>,
    prompt_len: usize,
    max_tokens: usize,
    /// Place in the order of arrival.
    pub(super) arrival: u64,
    pub(super) num_computed: usize,
    pub(super) block_table: Vec<BlockId>,
    /// Prefix hash of each full block of `tokens`, as far as anyone has asked.
    hashes: Vec<u64>,
    /// Leading blocks that are in the prefix index, or were found there.
    pub(super) num_published: usize,
    pub(super) was_admitted: bool,
    pub(super) is_finished: bool,
}

impl Sequence {
    pub(super) fn new(submission: &Submission, arrival: u64) -> Self {
        Self {
            id: submission.id,
            tokens: submission.prompt.to_vec(),
            prompt_len: submission.prompt.len(),
            max_tokens: submission.max_tokens,
            arrival,
            num_computed: 0,
            block_table: Vec::new(),
            hashes: Vec::new(),
            num_published: 0,
            was_admitted: false,
            is_finished: false,
        }
    }

    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Prompt and the output so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// Output tokens so far.
    pub fn num_generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Leading tokens whose keys and values are in the cache once the latest decision has been executed.
    pub fn num_computed(&self) -> usize {
        self.num_computed
    }

    /// Blocks of the computed tokens, in order; the last one may be partly filled. Empty while waiting.
    pub fn block_table(&self) -> &[BlockId] {
        &self.block_table
    }

    /// Tokens still to compute. 0 while the step that yields the next token is under way.
    pub(super) fn num_pending(&self) -> usize {
        self.tokens.len() - self.num_computed
    }

    /// All but the newest output token is in the cache.
    pub(super) fn is_decoding(&self) -> bool {
        self.num_pending() == 1 && self.num_generated() > 0
    }

    /// Blocks at full length. The last output token is never computed, so it needs no room.
    pub(super) fn max_blocks(&self, block_size: usize) -> usize {
        blocks_at_full_length(self.prompt_len, self.max_tokens, block_size)
    }

    /// Takes memory for the full length, so that later steps allocate nothing.
    pub(super) fn reserve_memory(&mut self, block_size: usize) {
        let blocks = self.max_blocks(block_size);
        self.tokens
            .reserve_exact(self.max_tokens - self.num_generated());
        self.block_table.reserve_exact(blocks);
        self.hashes.reserve_exact(blocks - self.hashes.len());
    }

    /// Appends an output token; true when it is the last that was asked for.
    pub(super) fn push(&mut self, token: u32) -> bool {
        self.tokens.push(token);
        self.num_generated() >= self.max_tokens
    }

    /// Puts in the newest token, if that is a pending one.
    pub(super) fn settle(&mut self, token: u32) -> bool {
        match self.tokens.last_mut() {
            Some(newest) if pending::index(*newest).is_some() => {
                *newest = token;
                true
            }
            _ => false,
        }
    }

    /// Back to nothing computed. The caller has released the blocks.
    pub(super) fn restart(&mut self) {
        self.block_table.clear();
        self.num_computed = 0;
        self.num_published = 0;
    }

    /// Makes the prefix hashes of the first `blocks` full blocks available. Tokens never change, so hashes are kept.
    pub(super) fn hash_blocks(&mut self, blocks: usize, block_size: usize) {
        for block in self.hashes.len()..blocks {
            let parent = self.hashes.last().copied().unwrap_or(ROOT_HASH);
            let tokens = &self.tokens[block * block_size..(block + 1) * block_size];
            self.hashes.push(chain_hash(parent, tokens));
        }
    }

    /// Prefix hash and tokens of a full block that has been hashed.
    pub(super) fn full_block(&self, block: usize, block_size: usize) -> (u64, &[u32]) {
        let tokens = &self.tokens[block * block_size..(block + 1) * block_size];
        (self.hashes[block], tokens)
    }
}

/// Blocks that a request can come to hold: for all its tokens but the last, which is sampled and never computed.
pub fn blocks_at_full_length(prompt_len: usize, max_tokens: usize, block_size: usize) -> usize {
    (prompt_len.saturating_add(max_tokens) - 1).div_ceil(block_size)
}
