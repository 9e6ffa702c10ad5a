//! The rows of one step as attention sees them: flat arrays, prefill chunks and decode rows mixed.

use serde::{Deserialize, Serialize};

/// Sequence `s` owns rows `query_offsets[s]..query_offsets[s + 1]`; its last row is token
/// `context_lens[s] - 1` of the sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Position of each row in its sequence.
    pub positions: Vec<u32>,
    /// Cache slot of each row: `block * block_size + offset`.
    pub slots: Vec<u32>,
    /// `[sequences + 1]`, from 0.
    pub query_offsets: Vec<u32>,
    /// Tokens of each sequence including this step's.
    pub context_lens: Vec<u32>,
    /// `[sequences, max_blocks]`, padded with the null block 0.
    pub block_tables: Vec<u32>,
    /// Row stride of `block_tables`.
    pub max_blocks: usize,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    pub fn sequences(&self) -> usize {
        self.context_lens.len()
    }

    /// The block table of sequence `s`.
    pub fn block_table(&self, s: usize) -> &[u32] {
        &self.block_tables[s * self.max_blocks..(s + 1) * self.max_blocks]
    }

    /// The rows of sequence `s`.
    pub fn query(&self, s: usize) -> std::ops::Range<usize> {
        self.query_offsets[s] as usize..self.query_offsets[s + 1] as usize
    }

    /// Keeps the buffers.
    pub fn clear(&mut self) {
        self.positions.clear();
        self.slots.clear();
        self.query_offsets.clear();
        self.context_lens.clear();
        self.block_tables.clear();
        self.max_blocks = 0;
    }

    /// (query, key) pairs that a causal mask lets through, for one head.
    pub fn attended_pairs(&self, window: Option<usize>) -> u64 {
        let sequences = 0..self.sequences();
        sequences.map(|s| self.attended_pairs_of(s, window)).sum()
    }

    /// Those of sequence `s`.
    pub fn attended_pairs_of(&self, s: usize, window: Option<usize>) -> u64 {
        let context = self.context_lens[s] as u64;
        let queries = self.query(s).len() as u64;
        match window {
            // Row i of the chunk sees context - queries + 1 + i keys.
            None => queries * (context - queries) + queries * (queries + 1) / 2,
            Some(window) => (context - queries + 1..=context)
                .map(|seen| seen.min(window as u64))
                .sum(),
        }
    }

    /// Cached tokens that attention must read, each once a step.
    pub fn attended_tokens(&self, window: Option<usize>) -> u64 {
        let sequences = 0..self.sequences();
        sequences.map(|s| self.attended_tokens_of(s, window)).sum()
    }

    /// Those of sequence `s`.
    pub fn attended_tokens_of(&self, s: usize, window: Option<usize>) -> u64 {
        let context = self.context_lens[s] as u64;
        let queries = self.query(s).len() as u64;
        window.map_or(context, |w| context.min(w as u64 + queries - 1))
    }
}
