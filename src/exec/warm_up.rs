//! The largest steps that limits allow, run once: kernels are compiled, scratch is allocated, and what is left of a
//! device's memory is known.

use serde::{Deserialize, Serialize};

use super::StepPlan;
use crate::ops::{DeviceMemory, Pick, Rows};

/// What the largest steps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    /// Rows of a step: the token budget.
    pub rows: usize,
    /// Sequences of a step.
    pub sequences: usize,
    /// Tokens of the longest sequence.
    pub max_model_len: usize,
    pub block_size: usize,
}

/// What a device has left after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headroom {
    pub memory: DeviceMemory,
    /// What the graphs of all buckets will take, at most.
    pub graph_bytes: u64,
}

/// Blocks of a cache for such steps: the null block, and one in which all tokens lie. What is computed means nothing.
pub const BLOCKS: usize = 2;
const BLOCK: u32 = 1;

impl Headroom {
    /// Bytes for the KV cache where `utilization` of the device may be used, others' share included.
    pub fn kv_bytes(&self, utilization: f64) -> u64 {
        let DeviceMemory { free, total } = self.memory;
        let budget = (total as f64 * utilization) as u64;
        let used = total - free.min(total);
        budget.saturating_sub(used + self.graph_bytes)
    }
}

impl WarmUp {
    /// A step of prompts that takes the whole token budget, and one decode step of all sequences at full length.
    pub fn plans(&self) -> [StepPlan; 2] {
        let mut left = self.rows;
        let mut prompts = Vec::new();
        while left > 0 && prompts.len() < self.sequences {
            let tokens = left.min(self.max_model_len);
            prompts.push((tokens, tokens));
            left -= tokens;
        }
        let sequences = self.sequences.min(self.rows);
        let decode = vec![(1, self.max_model_len); sequences];
        [self.plan(&prompts), self.plan(&decode)]
    }

    /// Of a sequence's table.
    pub fn blocks_of_longest(&self) -> usize {
        self.max_model_len.div_ceil(self.block_size)
    }

    /// Steps of prompts with fewer and fewer rows: half of those of the one before. Kernels are chosen by their number.
    pub fn rehearsals(&self) -> impl Iterator<Item = StepPlan> {
        let halves = std::iter::successors(Some(self.rows), |rows| Some(rows / 2));
        let halves = halves.take_while(|&rows| rows > 0);
        let smaller = halves.skip(1).map(|rows| Self { rows, ..*self });
        let smaller = smaller.map(|smaller| smaller.plans()[0].clone());
        self.plans().into_iter().chain(smaller)
    }

    /// Sequences as `(rows, context)`.
    fn plan(&self, sequences: &[(usize, usize)]) -> StepPlan {
        let longest = sequences.iter().map(|(_, context)| *context).max();
        let max_blocks = longest.unwrap_or(1).div_ceil(self.block_size);
        let mut plan = StepPlan::default();
        let mut rows = Rows {
            query_offsets: vec![0],
            max_blocks,
            ..Rows::default()
        };
        for &(count, context) in sequences {
            for position in context - count..context {
                rows.positions.push(position as u32);
                let offset = position % self.block_size;
                rows.slots
                    .push(BLOCK * self.block_size as u32 + offset as u32);
            }
            rows.query_offsets.push(rows.positions.len() as u32);
            rows.context_lens.push(context as u32);
            rows.block_tables.extend(vec![BLOCK; max_blocks]);
            plan.logit_rows.push(rows.positions.len() as u32 - 1);
            plan.picks.push(Pick::GREEDY);
        }
        plan.tokens = vec![0; rows.len()];
        plan.rows = rows;
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARM_UP: WarmUp = WarmUp {
        rows: 100,
        sequences: 4,
        max_model_len: 40,
        block_size: 16,
    };

    #[test]
    fn the_largest_steps_take_the_whole_budget() {
        let [prompts, decode] = WARM_UP.plans();
        assert_eq!(prompts.rows.query_offsets, [0, 40, 80, 100]);
        assert_eq!(prompts.rows.context_lens, [40, 40, 20]);
        assert_eq!(prompts.logit_rows, [39, 79, 99]);
        assert_eq!(decode.rows.context_lens, [40; 4]);
        assert_eq!(decode.rows.query_offsets, [0, 1, 2, 3, 4]);
        assert_eq!(decode.rows.max_blocks, 3);
        for plan in [prompts, decode] {
            assert_eq!(plan.tokens.len(), plan.rows.len());
            let own = 16..32;
            assert!(plan.rows.slots.iter().all(|slot| own.contains(slot)));
        }
    }

    #[test]
    fn the_cache_gets_what_steps_and_graphs_leave_of_the_budget() {
        let headroom = Headroom {
            memory: DeviceMemory {
                free: 600,
                total: 1000,
            },
            graph_bytes: 50,
        };
        assert_eq!(headroom.kv_bytes(0.9), 450);
        assert_eq!(headroom.kv_bytes(0.4), 0);
    }

    #[test]
    fn rehearsals_go_down_to_one_row() {
        let rows: Vec<usize> = WARM_UP.rehearsals().map(|plan| plan.rows.len()).collect();
        assert_eq!(rows, [100, 4, 50, 25, 12, 6, 3, 1]);
    }

    #[test]
    fn a_small_budget_still_decodes() {
        let small = WarmUp { rows: 3, ..WARM_UP };
        let [prompts, decode] = small.plans();
        assert_eq!(prompts.rows.len(), 3);
        assert_eq!(decode.rows.len(), 3);
    }
}
