//! The scheduler between steps: requests come, tokens come back, requests leave.

use std::collections::VecDeque;

use super::block_id::BlockId;
use super::blocks::BlockPool;
use super::config::{SchedulerConfig, SchedulerError};
use super::decision::{Outcome, Submission};
use super::sequence::{Sequence, blocks_at_full_length};
use super::table::{SequenceTable, Slot};
use crate::ground::RequestId;

/// Continuous batching over a paged KV cache.
///
/// A step is [`schedule`](Self::schedule), the execution of its decision, and [`complete`](Self::complete) with one
/// outcome for each entry that samples: once a step, before the next `schedule`, also when nothing sampled. `schedule`
/// counts an entry's tokens as computed at once; `complete` is what tells that they really are, so only then does the
/// prefix cache offer them to others.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) config: SchedulerConfig,
    pub(super) pool: BlockPool,
    pub(super) sequences: SequenceTable,
    /// Requests that hold blocks, then those that hold none: together in order of arrival.
    pub(super) running: Vec<Slot>,
    pub(super) waiting: VecDeque<Slot>,
    /// Blocks that the running requests hold at full length, summed.
    pub(super) reserved_blocks: usize,
    /// Scratch of an admission: the cached blocks of the request's prefix.
    pub(super) cached_prefix: Vec<BlockId>,
    pub(super) prefix_hit_tokens: u64,
    pub(super) preemptions: u64,
    arrivals: u64,
}

impl Scheduler {
    /// Refuses limits under which nothing could run.
    pub fn new(config: SchedulerConfig) -> Result<Self, SchedulerError> {
        config.validate()?;
        Ok(Self {
            pool: BlockPool::new(config.num_blocks, config.block_size, config.prefix_cache),
            config,
            sequences: SequenceTable::default(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            reserved_blocks: 0,
            cached_prefix: Vec::new(),
            prefix_hit_tokens: 0,
            preemptions: 0,
            arrivals: 0,
        })
    }

    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// Queues a request, or refuses at once what could never finish: nothing is changed then.
    pub fn add(&mut self, submission: Submission) -> Result<(), SchedulerError> {
        self.check(&submission)?;
        let slot = self
            .sequences
            .insert(Sequence::new(&submission, self.arrivals));
        self.arrivals += 1;
        self.waiting.push_back(slot);
        Ok(())
    }

    /// Drops a request and frees its blocks; false when there is none of this id. Its entry in a decision that is
    /// under way may still be executed: the blocks change hands in a later step at the earliest.
    pub fn abort(&mut self, id: RequestId) -> bool {
        let Some(slot) = self.sequences.slot(id) else {
            return false;
        };
        if let Some(position) = self.running.iter().position(|&other| other == slot) {
            self.running.remove(position);
            self.release_blocks(slot);
        } else if let Some(position) = self.waiting.iter().position(|&other| other == slot) {
            // Whoever ends many begins with the oldest, which is found at once.
            self.waiting.remove(position);
        }
        self.sequences.remove(slot);
        true
    }

    /// Forgets every cached prefix; true if that was possible: no request may hold blocks.
    pub fn reset_prefix_cache(&mut self) -> bool {
        let free = self.blocks_used() == 0;
        if free && self.config.prefix_cache {
            let SchedulerConfig {
                num_blocks,
                block_size,
                prefix_cache,
                ..
            } = self.config;
            self.pool = BlockPool::new(num_blocks, block_size, prefix_cache);
        }
        free
    }

    /// Takes the tokens that the latest decision sampled. Ids that were aborted or preempted meanwhile are passed
    /// over. A finished request is gone afterwards.
    pub fn complete(&mut self, outcomes: &[Outcome]) {
        self.publish_full_blocks();
        let mut any_finished = false;
        for outcome in outcomes {
            let Some(slot) = self.sequences.slot(outcome.id) else {
                continue;
            };
            let sequence = &mut self.sequences[slot];
            if sequence.num_pending() > 0 {
                continue;
            }
            let is_last = sequence.push(outcome.token);
            sequence.is_finished = is_last || outcome.finished;
            any_finished |= sequence.is_finished;
        }
        if any_finished {
            self.remove_finished();
        }
    }

    /// Puts in the tokens of a decision that [`complete`](Self::complete) was given as `ground::pending` ones, and drops
    /// requests that turn out to have ended: the next decision may have entries of theirs already. Once a decision,
    /// before the next one is completed; ids that are gone are passed over.
    pub fn settle(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let Some(slot) = self.sequences.slot(outcome.id) else {
                continue;
            };
            if self.sequences[slot].settle(outcome.token) && outcome.finished {
                self.abort(outcome.id);
            }
        }
    }

    /// A live request, waiting or running.
    pub fn sequence(&self, id: RequestId) -> Option<&Sequence> {
        self.sequences.get(id)
    }

    /// Requests that hold blocks.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that hold none: never scheduled, or preempted.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// No request is left.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Blocks that requests hold, shared ones counted once.
    pub fn blocks_used(&self) -> usize {
        self.pool.num_usable() - self.pool.num_free()
    }

    /// Blocks of the pool without the null block.
    pub fn blocks_total(&self) -> usize {
        self.pool.num_usable()
    }

    /// Tokens that first admissions found in the prefix cache. What a request finds again after its own preemption
    /// does not count.
    pub fn prefix_hit_tokens(&self) -> u64 {
        self.prefix_hit_tokens
    }

    /// How often a request gave its blocks back.
    pub fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// Takes all blocks from a request that leaves `running`. Its last blocks are freed first, so that of a cached
    /// prefix the beginning, which more requests can share, lives longest.
    pub(super) fn release_blocks(&mut self, slot: Slot) {
        let sequence = &mut self.sequences[slot];
        self.reserved_blocks -= sequence.max_blocks(self.config.block_size);
        for &block in sequence.block_table.iter().rev() {
            self.pool.release(block);
        }
        sequence.restart();
    }

    fn check(&self, submission: &Submission) -> Result<(), SchedulerError> {
        let (id, max_tokens) = (submission.id, submission.max_tokens);
        let prompt_tokens = submission.prompt.len();
        let SchedulerConfig {
            max_model_len,
            block_size,
            ..
        } = self.config;
        if prompt_tokens == 0 {
            return Err(SchedulerError::EmptyPrompt(id));
        }
        if max_tokens == 0 {
            return Err(SchedulerError::NoOutput(id));
        }
        if self.sequences.slot(id).is_some() {
            return Err(SchedulerError::DuplicateId(id));
        }
        if prompt_tokens.saturating_add(max_tokens) > max_model_len {
            return Err(SchedulerError::TooLong {
                id,
                prompt_tokens,
                max_tokens,
                max_model_len,
            });
        }
        let needed = blocks_at_full_length(prompt_tokens, max_tokens, block_size);
        let available = self.config.usable_blocks();
        if needed > available {
            return Err(SchedulerError::TooManyBlocks {
                id,
                prompt_tokens,
                max_tokens,
                needed,
                block_size,
                available,
            });
        }
        Ok(())
    }

    fn publish_full_blocks(&mut self) {
        if !self.config.prefix_cache {
            return;
        }
        let block_size = self.config.block_size;
        for &slot in &self.running {
            let sequence = &mut self.sequences[slot];
            let full = sequence.num_computed / block_size;
            sequence.hash_blocks(full, block_size);
            for block in sequence.num_published..full {
                let (hash, tokens) = sequence.full_block(block, block_size);
                self.pool.publish(sequence.block_table[block], hash, tokens);
            }
            // What came from the index is counted already and never falls short of `full`.
            sequence.num_published = full;
        }
    }

    fn remove_finished(&mut self) {
        let mut kept = 0;
        for position in 0..self.running.len() {
            let slot = self.running[position];
            if self.sequences[slot].is_finished {
                self.release_blocks(slot);
                self.sequences.remove(slot);
            } else {
                self.running[kept] = slot;
                kept += 1;
            }
        }
        self.running.truncate(kept);
    }
}
