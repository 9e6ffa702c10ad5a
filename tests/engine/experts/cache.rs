//! A KV cache in e4m3: how far logits move.

use candle_core::DType;

use crate::common::golden::{Golden, largest_of_all};
use crate::common::probe::Probe;
use crate::common::{Backend, FIXTURES, Model, fixture};

/// e4m3 keeps 4 bits of each cached number: it is off by up to 2^-4 of itself, 16 times as much as in bf16. Measured:
/// 1.3 to 3.3 of dense models (bf16: 0.09 to 0.18), root mean square 0.23 to 0.41.
const TOLERANCE: f32 = 5.0;
const RMS_TOLERANCE: f32 = 0.6;
/// A score that moves may choose another expert, and then logits are others. Measured: 0.63 and 1.27.
const EXPERTS_RMS_TOLERANCE: f32 = 2.0;
/// A cache that secretly stayed wider would be nearer than this.
const NEAREST: f32 = 0.5;
/// Both kernels round the same way, but for numbers that f32 noise moves over a rounding boundary. Measured: 0.09.
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
            let off = rms(&cpu, &expected);
            println!(
                "{name} chunk {chunk}: {worst:.2e} (bf16 {half:.2e}), root mean square {off:.2e}, backends {apart:.2e} apart"
            );
            match name.contains("moe") {
                true => assert!(off < EXPERTS_RMS_TOLERANCE, "{name}: {off}"),
                false => assert!(
                    worst < TOLERANCE && off < RMS_TOLERANCE,
                    "{name}: {worst}, {off}"
                ),
            }
            assert!(
                worst > NEAREST && worst > half,
                "{name}: {worst}, bf16 {half}"
            );
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
