//! Slices of the report's mixtures at eight ranks: full width, fewer experts, a short vocabulary.

use std::sync::Arc;

use candlepower::exec::{Executor, StepOutput};
use candlepower::hub::cards;
use candlepower::model::ModelSpec;
use candlepower::parallel::Split;
use candlepower::profile::{Load, Phase};

use super::{by_columns, whole};
use crate::common::golden::largest_of_all;
use crate::common::slice;

const EXPERTS: usize = 16;
const SHORT_VOCABULARY: usize = 4096;

fn spec(name: &str) -> ModelSpec {
    let card = cards::find(name).unwrap();
    let mut spec = ModelSpec::from_json(card.config_json, name).unwrap();
    spec.truncate_layers(1);
    spec.vocab_size = SHORT_VOCABULARY;
    spec.experts.as_mut().unwrap().num_experts = EXPERTS;
    spec
}

fn logits(name: &str, split: Split) -> Vec<Vec<f32>> {
    let mut ranks = slice::dummy(&spec(name), split);
    let found = slice::logits(&mut ranks, &slice::step(401));
    // All ranks saw the same choices: eight of each row that was routed.
    let loads = ranks.on_all(|rank| rank.expert_load().unwrap()).unwrap();
    assert!(loads.iter().all(|load| *load == loads[0]));
    let routed = 8 * slice::LOGIT_ROWS as u32;
    assert_eq!(loads[0][0].tokens.iter().sum::<u32>(), routed);
    found
}

#[test]
fn layers_of_the_reports_mixtures_at_eight_ranks() {
    for name in ["Qwen3-235B-A22B", "Qwen3-235B-A22B-FP8"] {
        let one = logits(name, by_columns(1));
        let largest = slice::size(&one);
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

/// A profile's step stands for one of many sequences, and experts' weights are most of what it reads.
#[test]
fn sequences_of_a_profile_choose_experts_of_their_own() {
    const SEQUENCES: u32 = 4;
    let spec = spec("Qwen3-235B-A22B");
    let mut ranks = slice::dummy(&spec, by_columns(1));
    ranks.touch_kv().unwrap();
    let load = Load {
        phase: Phase::Decode,
        batch: SEQUENCES as usize,
        context: 200,
    };
    let plan = load.plan(slice::BLOCK_SIZE, spec.vocab_size);
    let ticket = ranks.submit(Arc::new(plan)).unwrap();
    ranks.wait(ticket, &mut StepOutput::default()).unwrap();
    let chosen = &ranks.expert_load().unwrap()[0].tokens;
    assert_eq!(chosen.iter().sum::<u32>(), 8 * SEQUENCES);
    // Eight where all are alike.
    let different = chosen.iter().filter(|&&tokens| tokens > 0).count();
    assert!(different >= 12, "{chosen:?}");
}
