//! Slices of the report's mixtures at eight ranks: full width, fewer experts, a short vocabulary.

use std::sync::Arc;

use candle_core::DType;
use candlepower::exec::{Executor, KvLayout, Rank, Ranks, StepPlan};
use candlepower::hub::cards;
use candlepower::model::{Decoder, DummyWeights, ModelSpec, Share, StepLimits, WeightType};
use candlepower::ops::cpu::Cpu;
use candlepower::parallel::{Collective, ShardPlan, Split};

use super::{by_columns, whole};
use crate::common::golden::largest_of_all;
use crate::common::probe::{Chunk, rows};

const EXPERTS: usize = 16;
const SHORT_VOCABULARY: usize = 4096;
const TOKENS: u32 = 9;
const BLOCKS: usize = 8;
const BLOCK_SIZE: usize = 16;

fn slice(name: &str) -> ModelSpec {
    let card = cards::find(name).unwrap();
    let mut spec = ModelSpec::from_json(card.config_json, name).unwrap();
    spec.truncate_layers(1);
    spec.vocab_size = SHORT_VOCABULARY;
    spec.experts.as_mut().unwrap().num_experts = EXPERTS;
    spec
}

/// Logits of some rows; the bytes of every rank are those of the plan.
fn logits(name: &str, split: Split) -> Vec<Vec<f32>> {
    let spec = slice(name);
    let plan = Arc::new(ShardPlan::split(&spec, split).unwrap());
    let weights = DummyWeights {
        seed: 5,
        weight_type: WeightType::Bf16,
    };
    let shared = plan.clone();
    let build = move |collective: Box<dyn Collective>| {
        let share = Share {
            plan: &shared,
            rank: collective.rank(),
        };
        let limits = StepLimits {
            rows: 16,
            logit_rows: 4,
        };
        let decoder = Decoder::load(share, &weights, &Cpu, limits, &mut |_| {})?;
        Ok(Rank::new(Box::new(Cpu), collective, decoder))
    };
    let elements = plan.kv_elements_per_token();
    let mut ranks = Ranks::load(split.tp, 2, u64::MAX, elements, Arc::new(build)).unwrap();
    let layout = KvLayout {
        num_blocks: BLOCKS,
        block_size: BLOCK_SIZE,
        dtype: DType::BF16,
    };
    ranks.allocate_kv(&layout).unwrap();
    for memory in ranks.memory().unwrap() {
        let rank = memory.rank;
        let bytes = plan.weight_bytes(rank, |tensor| tensor.element_bytes(2));
        assert_eq!(
            memory.weights_bytes, bytes,
            "{name}, rank {rank}, {split:?}"
        );
        assert_eq!(memory.kv_bytes, (2 * elements * BLOCKS * BLOCK_SIZE) as u64);
    }
    let chunk = Chunk {
        start: 0,
        end: TOKENS as usize,
        table: &[1],
    };
    let step = Arc::new(StepPlan {
        tokens: (0..TOKENS).map(|i| i * 401 + 7).collect(),
        rows: rows(&[chunk], BLOCK_SIZE),
        logit_rows: vec![0, 4, 8],
        picks: Vec::new(),
    });
    let parts = ranks.on_all(move |rank| rank.logits(&step)).unwrap();
    let mut found = vec![Vec::new(); 3];
    for part in parts {
        let part = part.unwrap().to_vec2::<f32>().unwrap();
        found
            .iter_mut()
            .zip(part)
            .for_each(|(row, part)| row.extend(part));
    }
    // All ranks saw the same choices: eight of each row that was routed.
    let loads = ranks.on_all(|rank| rank.expert_load().unwrap()).unwrap();
    assert!(loads.iter().all(|load| *load == loads[0]));
    assert_eq!(loads[0][0].tokens.iter().sum::<u32>(), 8 * 3);
    found
}

#[test]
fn layers_of_the_reports_mixtures_at_eight_ranks() {
    for name in ["Qwen3-235B-A22B", "Qwen3-235B-A22B-FP8"] {
        let one = logits(name, by_columns(1));
        let largest = one
            .iter()
            .flatten()
            .fold(0.0_f32, |size, v| size.max(v.abs()));
        assert!(one[0].len() == SHORT_VOCABULARY && largest > 0.1);
        for split in [by_columns(8), whole(8)] {
            let worst = largest_of_all(&logits(name, split), &one);
            println!("{name}, {split:?}: {worst:.2e} of {largest:.2}");
            assert!(
                worst < 1e-4 * largest,
                "{name}, {split:?}: {worst} of {largest}"
            );
        }
    }
}
