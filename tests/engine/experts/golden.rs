//! The tiny checkpoints against what transformers computed for them, over one to eight ranks.

use candle_core::DType;
use candlepower::parallel::{ShardPlan, Split};

use super::{by_columns, whole};
use crate::common::golden::{F32_TOLERANCE, Golden, greedy_is_golden, largest_of_all};
use crate::common::probe::Probe;
use crate::common::{Backend, EXPERTS_AND_FP8, Model, fixture};

/// Every split of a fixture that its shapes allow.
fn splits() -> Vec<(&'static str, Split)> {
    let all = [by_columns(1), by_columns(2), by_columns(4), by_columns(8)];
    let all = all
        .into_iter()
        .chain([whole(1), whole(2), whole(4), whole(8)]);
    let pairs = all.flat_map(|split| EXPERTS_AND_FP8.map(|name| (name, split)));
    let legal = pairs.filter(|(name, split)| {
        let spec = Model::open(&fixture(name)).spec;
        ShardPlan::split(&spec.shape(), *split).is_ok()
    });
    legal.collect()
}

#[test]
fn every_split_of_the_fixtures_is_tried() {
    let tried = splits();
    for name in EXPERTS_AND_FP8 {
        for tp in [1, 2, 4] {
            assert!(tried.contains(&(name, by_columns(tp))), "{name}, tp {tp}");
            let experts = name.contains("moe");
            assert_eq!(tried.contains(&(name, whole(tp))), experts, "{name}, {tp}");
        }
    }
    // With KV heads held twice.
    assert!(tried.contains(&("qwen3-moe-tiny", whole(8))));
}

#[test]
fn greedy_tokens_are_golden_on_every_split() {
    for (name, split) in splits() {
        // The reference takes its time.
        greedy_is_golden(name, &Model::open(&fixture(name)), split, &[Backend::Cpu]);
    }
}

#[test]
fn logits_are_golden_on_every_split_and_the_same_bits_each_time() {
    for (name, split) in splits() {
        let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
        let expected = Golden::logits(name);
        let logits = |chunk: usize| {
            Probe::split(&model, Backend::Cpu, DType::F32, 16, split)
                .logits(&golden.prompts, |_| chunk)
        };
        for chunk in [512, 7] {
            let (found, again) = (logits(chunk), logits(chunk));
            assert_eq!(found, again, "{name}, {split:?}: not the same bits");
            let worst = largest_of_all(&found, &expected);
            println!("{name}, {split:?}, chunk {chunk}: {worst:.2e}");
            assert!(worst < F32_TOLERANCE, "{name}, {split:?}: {worst}");
        }
    }
}

/// A row's logits do not depend on the rows around it: not on which experts these chose, nor on how many.
#[test]
fn bits_do_not_depend_on_the_batch() {
    for name in EXPERTS_AND_FP8 {
        let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
        let probe = || Probe::new(&model, Backend::Cpu, DType::F32, 16);
        let together = probe().logits(&golden.prompts, |_| 512);
        for (prompt, together) in golden.prompts.iter().zip(&together) {
            let alone = probe().logits(std::slice::from_ref(prompt), |_| 512);
            assert_eq!(alone[0], *together, "{name}");
        }
    }
}
