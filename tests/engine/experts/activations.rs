//! Inputs of FP8 layers quantised too: by the published definition, and how far logits move.

use candle_core::DType;
use candlepower::parallel::Split;

use super::{by_columns, whole};
use crate::common::f64_model::F64Model;
use crate::common::golden::{F32_TOLERANCE, Golden, largest_of_all};
use crate::common::probe::Probe;
use crate::common::{Backend, Model, fixture, largest_difference};

/// Between both is what rounding to four bits does. Measured: 2.3 of logits up to 10.
const MOVED: std::ops::Range<f32> = 0.1..4.0;
/// Of 111 positions. Once f32 noise has moved a number over a rounding boundary, whatever sees it is rounded anew.
const FEWEST_EQUAL: usize = 25;

fn open(name: &str, quantize_activations: bool) -> Model {
    let mut model = Model::open(&fixture(name));
    let quantization = model.spec.quantization.as_mut().unwrap();
    quantization.quantize_activations = quantize_activations;
    model
}

/// Positions whose logits are the same, but for f32 noise.
fn equal(found: &[Vec<f32>], expected: &[Vec<f32>], vocab: usize) -> usize {
    let prompts = found.iter().zip(expected);
    let positions =
        prompts.flat_map(|(found, expected)| found.chunks(vocab).zip(expected.chunks(vocab)));
    let same =
        positions.filter(|(found, expected)| largest_difference(found, expected) < F32_TOLERANCE);
    same.count()
}

#[test]
fn activations_are_rounded_as_published() {
    for name in ["qwen3-fp8-tiny", "qwen3-moe-fp8-tiny"] {
        let (golden, model) = (Golden::read(name), open(name, true));
        let mut oracle = F64Model::open(&fixture(name));
        oracle.quantize_activations = true;
        let expected: Vec<Vec<f32>> = golden.prompts.iter().map(|p| oracle.logits(p)).collect();
        let logits = |backend, split: Split, chunk: usize| {
            Probe::split(&model, backend, DType::F32, 16, split).logits(&golden.prompts, |_| chunk)
        };
        let mut runs = vec![
            (Backend::Cpu, by_columns(1), 512),
            // A row's scales are its own.
            (Backend::Cpu, by_columns(1), 7),
            (Backend::Reference, by_columns(1), 512),
        ];
        // Whole experts, and attention cut between blocks: the same blocks as on one rank.
        if model.spec.experts.is_some() {
            runs.push((Backend::Cpu, whole(4), 512));
        }
        for (backend, split, chunk) in runs {
            let same = equal(
                &logits(backend, split, chunk),
                &expected,
                model.spec.vocab_size,
            );
            println!("{name}, {backend:?}, {split:?}, chunk {chunk}: {same} positions equal f64");
            assert!(
                same >= FEWEST_EQUAL,
                "{name}, {backend:?}, {split:?}: {same}"
            );
        }
    }
}

/// Ranks by columns cut blocks of 128, and scale each its own part.
#[test]
fn logits_with_rounded_activations_stay_near() {
    let name = "qwen3-fp8-tiny";
    let golden = Golden::read(name);
    for split in [by_columns(1), by_columns(2), by_columns(4)] {
        let logits = |model: &Model| {
            Probe::split(model, Backend::Cpu, DType::F32, 16, split)
                .logits(&golden.prompts, |_| 512)
        };
        let moved = largest_of_all(&logits(&open(name, true)), &logits(&open(name, false)));
        println!("{name}, {split:?}: {moved:.2e} from weight-only");
        assert!(MOVED.contains(&moved), "{split:?}: {moved}");
    }
}
