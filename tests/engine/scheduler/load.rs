//! Random loads: limits, arrivals and aborts.

use candlepower::scheduler::{Policy, SchedulerConfig};
use proptest::prelude::*;
use proptest::sample::Index;

/// What happens around one step.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Prompts and output lengths.
    pub arrivals: Vec<(Vec<u32>, usize)>,
    pub abort_before: Option<Index>,
    pub abort_during: Option<Index>,
}

#[derive(Debug, Clone)]
pub struct Load {
    pub config: SchedulerConfig,
    pub turns: Vec<Turn>,
}

pub fn any_policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Mixed),
        Just(Policy::PrefillFirst),
        Just(Policy::Reserve)
    ]
}

pub fn load(policy: impl Strategy<Value = Policy>) -> impl Strategy<Value = Load> {
    let config = (
        policy,
        1..=6_usize,
        1..=24_usize,
        8..=40_usize,
        1..=5_usize,
        2..=24_usize,
        any::<bool>(),
    )
        .prop_map(
            |(policy, seqs, tokens, len, block_size, blocks, cache)| SchedulerConfig {
                policy,
                max_num_seqs: seqs,
                max_num_batched_tokens: tokens,
                max_model_len: len,
                block_size,
                num_blocks: blocks,
                prefix_cache: cache,
            },
        );
    // A shared beginning of one of two kinds, then tokens of its own.
    let prompt = (0..2_u32, 0..12_u32, prop::collection::vec(0..3_u32, 0..5)).prop_map(
        |(kind, shared, own)| {
            let shared = (0..shared).map(move |position| (kind + position) % 3);
            shared.chain(own).collect::<Vec<_>>()
        },
    );
    let turn = (
        prop::collection::vec((prompt, 0..20_usize), 0..4),
        prop::option::weighted(0.1, any::<Index>()),
        prop::option::weighted(0.1, any::<Index>()),
    )
        .prop_map(|(arrivals, abort_before, abort_during)| Turn {
            arrivals,
            abort_before,
            abort_during,
        });
    (config, prop::collection::vec(turn, 1..20)).prop_map(|(config, turns)| Load { config, turns })
}
