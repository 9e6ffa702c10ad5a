//! A KV cache in e4m3: how far logits move.

use candle_core::DType;

use crate::common::golden::{Golden, largest_of_all};
use crate::common::probe::Probe;
use crate::common::{Backend, FIXTURES, Model, fixture};

/// e4m3 keeps 4 bits of each cached number: it is off by up to 2^-4 of itself, 32 times as much as in bf16.
const TOLERANCE: f32 = 4.0;
/// A cache that secretly stayed wider would be nearer than this.
const NEAREST: f32 = 0.02;
/// Both kernels round the same way, but for numbers that f32 noise moves over a rounding boundary.
const AGREEMENT: f32 = 0.5;

#[test]
fn logits_with_an_e4m3_cache_stay_near() {
    for name in FIXTURES {
        let (model, golden) = (Model::open(&fixture(name)), Golden::read(name));
        let expected = Golden::logits(name);
        let logits = |backend, kv, chunk: usize| {
            Probe::new(&model, backend, kv, 16).logits(&golden.prompts, |_| chunk)
        };
        for chunk in [512, 13] {
            let cpu = logits(Backend::Cpu, DType::F8E4M3, chunk);
            let reference = logits(Backend::Reference, DType::F8E4M3, chunk);
            let worst = largest_of_all(&cpu, &expected);
            let half = largest_of_all(&logits(Backend::Cpu, DType::BF16, chunk), &expected);
            let apart = largest_of_all(&cpu, &reference);
            println!(
                "{name} chunk {chunk}: {worst:.2e} (bf16 {half:.2e}), root mean square {:.2e}, backends {apart:.2e} apart",
                rms(&cpu, &expected)
            );
            assert!(worst < TOLERANCE && worst > NEAREST, "{name}: {worst}");
            assert!(worst > half, "{name}: {worst}, bf16 {half}");
            assert!(apart < AGREEMENT, "{name}: {apart}");
        }
    }
}

fn rms(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    let (sum, count) = pairs.fold((0.0, 0), |(sum, count), (f, e)| {
        (sum + (f - e).powi(2), count + 1)
    });
    (sum / count as f32).sqrt()
}
