//! Inputs of FP8 layers quantised too: how far logits move.

use candle_core::DType;
use candlepower::parallel::Split;

use super::{by_columns, whole};
use crate::common::golden::{F32_TOLERANCE, Golden, largest_of_all};
use crate::common::probe::Probe;
use crate::common::{Backend, Model, fixture};

/// e4m3 keeps 4 bits of each input. Measured: see the printed lines.
const TOLERANCE: f32 = 3.0;
/// Of kernels and ranks whose f32 noise moves numbers over rounding boundaries.
const AGREEMENT: f32 = 0.5;

#[test]
fn logits_with_quantised_activations_stay_near() {
    for name in ["qwen3-fp8-tiny", "qwen3-moe-fp8-tiny"] {
        let golden = Golden::read(name);
        let mut model = Model::open(&fixture(name));
        let quantization = model.spec.quantization.as_mut().unwrap();
        quantization.quantize_activations = true;
        let logits = |backend, split: Split, chunk: usize| {
            Probe::split(&model, backend, DType::F32, 16, split).logits(&golden.prompts, |_| chunk)
        };
        let found = logits(Backend::Cpu, by_columns(1), 512);
        let worst = largest_of_all(&found, &Golden::logits(name));
        println!("{name}: {worst:.2e} from weight-only");
        // Were nothing rounded, it would be nearer.
        assert!(
            worst > 10.0 * F32_TOLERANCE && worst < TOLERANCE,
            "{name}: {worst}"
        );
        // A row's scale is its own: neither the batch nor the chunk matters.
        let chunked = logits(Backend::Cpu, by_columns(1), 7);
        let apart = largest_of_all(&found, &chunked);
        assert!(apart < AGREEMENT, "{name}, chunks: {apart}");
        let reference = logits(Backend::Reference, by_columns(1), 512);
        let apart = largest_of_all(&found, &reference);
        println!("{name}: backends {apart:.2e} apart");
        assert!(apart < AGREEMENT, "{name}, reference: {apart}");
        let mut splits = vec![by_columns(2), by_columns(4)];
        if model.spec.experts.is_some() {
            splits.push(whole(4));
        }
        for split in splits {
            let apart = largest_of_all(&found, &logits(Backend::Cpu, split, 512));
            println!("{name}: {split:?} {apart:.2e} apart");
            // Ranks by columns scale their own part of a block.
            assert!(apart < TOLERANCE, "{name}, {split:?}: {apart}");
        }
    }
}
