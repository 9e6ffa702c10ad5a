//! What is profiled: one step of a batch in one phase.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exec::StepPlan;
use crate::ground::Sampling;
use crate::ops::{Pick, Rows};

/// Spreads the token ids of a step over the vocabulary; a prime, so that few of them meet.
const TOKEN_STRIDE: usize = 7919;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Whole prompts, all their tokens in one step.
    Prefill,
    /// One token of each sequence, at the end of its context.
    Decode,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub phase: Phase,
    /// Sequences.
    pub batch: usize,
    /// Tokens of each, those of this step included.
    pub context: usize,
}

impl Load {
    /// Tokens that the step computes.
    pub fn rows(&self) -> usize {
        self.batch * self.rows_each()
    }

    /// Blocks of the KV cache, the null block among them.
    pub fn blocks(&self, block_size: usize) -> usize {
        1 + self.batch * self.context.div_ceil(block_size)
    }

    /// The step, greedy; each sequence's blocks lie one after another behind the null block.
    pub fn plan(&self, block_size: usize, vocab_size: usize) -> StepPlan {
        let Self { batch, context, .. } = *self;
        let max_blocks = context.div_ceil(block_size);
        let mut plan = StepPlan {
            rows: Rows {
                query_offsets: vec![0],
                max_blocks,
                ..Rows::default()
            },
            ..StepPlan::default()
        };
        for sequence in 0..batch {
            let first_block = 1 + sequence * max_blocks;
            for position in context - self.rows_each()..context {
                let token = (sequence * context + position) * TOKEN_STRIDE % vocab_size;
                plan.tokens.push(token as u32);
                plan.rows.positions.push(position as u32);
                let slot = first_block * block_size + position;
                plan.rows.slots.push(slot as u32);
            }
            let end = plan.tokens.len() as u32;
            plan.rows.query_offsets.push(end);
            plan.rows.context_lens.push(context as u32);
            let table = first_block..first_block + max_blocks;
            let table = table.map(|block| block as u32);
            plan.rows.block_tables.extend(table);
            plan.logit_rows.push(end - 1);
            plan.picks.push(Pick {
                stream: sequence as u64,
                position: context as u32,
                sampling: Sampling::GREEDY,
            });
        }
        plan
    }

    fn rows_each(&self) -> usize {
        match self.phase {
            Phase::Prefill => self.context,
            Phase::Decode => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_what_the_engine_would_pack() {
        let load = |phase| Load {
            phase,
            batch: 2,
            context: 5,
        };
        let plan = load(Phase::Decode).plan(4, 100);
        assert_eq!(plan.rows.positions, [4, 4]);
        assert_eq!(plan.rows.query_offsets, [0, 1, 2]);
        assert_eq!(plan.rows.block_tables, [1, 2, 3, 4]);
        assert_eq!(plan.rows.slots, [8, 16]);
        assert_eq!(plan.logit_rows, [0, 1]);
        let plan = load(Phase::Prefill).plan(4, 100);
        assert_eq!((plan.tokens.len(), load(Phase::Prefill).rows()), (10, 10));
        assert_eq!(plan.rows.query_offsets, [0, 5, 10]);
        assert_eq!(plan.rows.slots[..6], [4, 5, 6, 7, 8, 12]);
        assert_eq!(plan.logit_rows, [4, 9]);
        assert_eq!(load(Phase::Decode).blocks(4), 5);
        assert!(plan.tokens.iter().all(|token| *token < 100));
    }
}
