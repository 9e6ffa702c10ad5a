//! The rule of a step.
//!
//! There is no prefill phase and no decode phase: the computed tokens of each request catch up with all its tokens
//! under one budget a step. Running requests go first in order of arrival. When no block is free, the youngest running
//! request gives its blocks back, goes to the front of the waiting queue, and will recompute its tokens. Waiting
//! requests are admitted in order, and only in a step without a preemption. The policies vary this in two places:
//! `schedule` orders the phases, `can_reserve` guards admission.

use super::config::Policy;
use super::decision::{Decision, Entry};
use super::sequence::Sequence;
use super::state::Scheduler;
use super::table::Slot;

/// Which running requests a pass takes up.
#[derive(Clone, Copy)]
enum Phase {
    Any,
    Prefill,
    Decode,
}

impl Phase {
    fn includes(self, sequence: &Sequence) -> bool {
        match self {
            Self::Any => true,
            Self::Prefill => !sequence.is_decoding(),
            Self::Decode => sequence.is_decoding(),
        }
    }
}

/// Where a request comes from into a step.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Running,
    Waiting,
}

impl Scheduler {
    /// Decides the next step into `out`, whose buffers are reused: once they have grown, a step without admissions
    /// allocates nothing. An empty decision means that nothing is left to do (or that outcomes are outstanding).
    pub fn schedule(&mut self, out: &mut Decision) {
        out.clear();
        let mut budget = self.config.max_num_batched_tokens;
        match self.config.policy {
            Policy::Mixed | Policy::Reserve => {
                self.advance_running(Phase::Any, &mut budget, out);
                self.admit_waiting(&mut budget, out);
            }
            Policy::PrefillFirst => {
                self.advance_running(Phase::Prefill, &mut budget, out);
                self.admit_waiting(&mut budget, out);
                if out.is_empty() {
                    self.advance_running(Phase::Decode, &mut budget, out);
                }
            }
        }
    }

    fn advance_running(&mut self, phase: Phase, budget: &mut usize, out: &mut Decision) {
        let mut position = 0;
        while position < self.running.len() && *budget > 0 {
            let slot = self.running[position];
            let sequence = &self.sequences[slot];
            let num_tokens = sequence.num_pending().min(*budget);
            if num_tokens > 0 && phase.includes(sequence) {
                let end = sequence.num_computed + num_tokens;
                let blocks = end.div_ceil(self.config.block_size) - sequence.block_table.len();
                if !self.make_room(position, blocks, out) {
                    break;
                }
                *budget -= num_tokens;
                self.enter(slot, num_tokens, Origin::Running, out);
            }
            position += 1;
        }
    }

    /// Preempts from the young end until `blocks` are free; false when the request at `position` itself had to go.
    /// Older requests, which may have their entries already, are never touched.
    fn make_room(&mut self, position: usize, blocks: usize, out: &mut Decision) -> bool {
        while self.pool.num_free() < blocks {
            let youngest = self.running.len() - 1;
            self.preempt_youngest(out);
            if youngest == position {
                return false;
            }
        }
        true
    }

    fn preempt_youngest(&mut self, out: &mut Decision) {
        if let Some(slot) = self.running.pop() {
            self.release_blocks(slot);
            self.waiting.push_front(slot);
            self.preemptions += 1;
            out.preempted.push(self.sequences[slot].id());
        }
    }

    fn admit_waiting(&mut self, budget: &mut usize, out: &mut Decision) {
        if !out.preempted.is_empty() {
            return;
        }
        while *budget > 0 && self.running.len() < self.config.max_num_seqs {
            let Some(&slot) = self.waiting.front() else {
                break;
            };
            if !self.can_reserve(slot) {
                break;
            }
            self.find_cached_prefix(slot);
            let cached = self.cached_prefix.len();
            let sequence = &self.sequences[slot];
            let start = cached * self.config.block_size;
            let num_tokens = (sequence.tokens().len() - start).min(*budget);
            let new_blocks = (start + num_tokens).div_ceil(self.config.block_size) - cached;
            // A cached block that nobody holds is free as well, and will not be once it is held.
            let revived = self.cached_prefix.iter();
            let revived = revived.filter(|&&block| self.pool.references(block) == 0);
            if new_blocks + revived.count() > self.pool.num_free() {
                break;
            }
            *budget -= num_tokens;
            self.waiting.pop_front();
            self.admit(slot, out);
            self.enter(slot, num_tokens, Origin::Waiting, out);
        }
    }

    /// Under `Reserve`: every running request and this one could reach full length together. Shared blocks count
    /// for each holder, which errs on the safe side.
    fn can_reserve(&self, slot: Slot) -> bool {
        let needed = self.sequences[slot].max_blocks(self.config.block_size);
        self.config.policy != Policy::Reserve
            || self.reserved_blocks + needed <= self.pool.num_usable()
    }

    /// Fills `cached_prefix` with the longest run of cached full blocks, short of the last token: one token is
    /// always left to compute, or there would be nothing to sample from.
    fn find_cached_prefix(&mut self, slot: Slot) {
        self.cached_prefix.clear();
        if !self.config.prefix_cache {
            return;
        }
        let block_size = self.config.block_size;
        let sequence = &mut self.sequences[slot];
        let full = (sequence.tokens().len() - 1) / block_size;
        sequence.hash_blocks(full, block_size);
        let found = (0..full).map_while(|block| {
            let (hash, tokens) = sequence.full_block(block, block_size);
            self.pool.find(hash, tokens)
        });
        self.cached_prefix.extend(found);
    }

    /// Makes a request run, with the blocks of `cached_prefix` as the beginning of its table.
    fn admit(&mut self, slot: Slot, out: &mut Decision) {
        let block_size = self.config.block_size;
        let sequence = &mut self.sequences[slot];
        sequence.reserve_memory(block_size);
        for &block in &self.cached_prefix {
            self.pool.hold(block);
            sequence.block_table.push(block);
        }
        sequence.num_published = self.cached_prefix.len();
        sequence.num_computed = self.cached_prefix.len() * block_size;
        if !sequence.was_admitted {
            sequence.was_admitted = true;
            self.prefix_hit_tokens += sequence.num_computed as u64;
            out.admitted.push(sequence.id());
        }
        self.reserved_blocks += sequence.max_blocks(block_size);
        self.running.push(slot);
    }

    /// Writes a running request's entry and gives it the blocks for it, which are known to be free.
    fn enter(&mut self, slot: Slot, num_tokens: usize, origin: Origin, out: &mut Decision) {
        let sequence = &mut self.sequences[slot];
        let is_decode = origin == Origin::Running && sequence.is_decoding();
        let start = sequence.num_computed;
        let end = start + num_tokens;
        let known_blocks = match origin {
            Origin::Running => sequence.block_table.len(),
            Origin::Waiting => 0,
        };
        while sequence.block_table.len() * self.config.block_size < end {
            // Both callers have counted the free blocks.
            let block = self.pool.take().expect("a counted block is free");
            sequence.block_table.push(block);
        }
        sequence.num_computed = end;
        let first = out.new_blocks.len();
        out.new_blocks
            .extend_from_slice(&sequence.block_table[known_blocks..]);
        out.entries.push(Entry {
            id: sequence.id(),
            start,
            num_tokens,
            samples: sequence.num_pending() == 0,
            is_decode,
            new_blocks: first..out.new_blocks.len(),
        });
    }
}
