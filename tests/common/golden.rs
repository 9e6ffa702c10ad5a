//! What Hugging Face transformers computed for the fixtures.

use candle_core::Device;
use candlepower::parallel::Split;
use serde::Deserialize;

use super::{Backend, Model, Session, Setup, fixture, largest_difference};

/// Logits are of size 1 to 10; summing in another order moves them by up to 5e-5 (measured).
pub const F32_TOLERANCE: f32 = 1e-3;

#[derive(Deserialize)]
pub struct Golden {
    pub prompts: Vec<Vec<u32>>,
    pub greedy: Vec<Vec<u32>>,
    /// Distance of the two best logits where they were closest.
    min_top2_margin: f32,
}

impl Golden {
    pub fn read(name: &str) -> Self {
        let text = std::fs::read(fixture(name).join("golden.json")).unwrap();
        let golden: Self = serde_json::from_slice(&text).unwrap();
        assert_eq!((golden.prompts.len(), golden.greedy.len()), (4, 4));
        // Otherwise a rounding could decide a token, and the tests that compare them would not be fair.
        assert!(golden.min_top2_margin > 10.0 * F32_TOLERANCE);
        golden
    }

    pub fn max_tokens(&self) -> usize {
        self.greedy[0].len()
    }

    /// `[prompt][position * vocab + token]`.
    pub fn logits(name: &str) -> Vec<Vec<f32>> {
        let file = fixture(name).join("golden.safetensors");
        let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        (0..tensors.len())
            .map(|i| tensors[&format!("logits.{i}")].flatten_all().unwrap())
            .map(|logits| logits.to_vec1().unwrap())
            .collect()
    }
}

/// All prompts together, and by `alone` each by itself too, with threads and budgets of several sizes.
pub fn greedy_is_golden(name: &str, model: &Model, split: Split, alone: &[Backend]) {
    let golden = Golden::read(name);
    for (backend, threads, budget) in [
        (Backend::Cpu, 1, 2048),
        (Backend::Cpu, 11, 16),
        (Backend::Reference, 2, 64),
    ] {
        let mut setup = Setup {
            backend,
            tp: split.tp,
            expert_parallel: split.expert_parallel,
            threads,
            ..Setup::default()
        };
        setup.scheduler.max_num_batched_tokens = budget;
        let mut session = Session::start(model, &setup);
        if alone.contains(&backend) {
            let found = session.alone(&golden.prompts, golden.max_tokens());
            assert_eq!(found, golden.greedy, "{name}, alone, {setup:?}");
        }
        let together = session.together(&golden.prompts, golden.max_tokens());
        assert_eq!(together, golden.greedy, "{name}, together, {setup:?}");
    }
}

/// The largest difference of logits of several prompts.
pub fn largest_of_all(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(f, e)| largest_difference(f, e))
        .fold(0.0, f32::max)
}

/// Root of the mean square difference over that of `expected`.
pub fn relative_rms(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    let (mut difference, mut size) = (0.0, 0.0);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        for (&f, &e) in found.iter().zip(expected) {
            assert!(f.is_finite(), "a logit is {f}");
            difference += f64::from(f - e).powi(2);
            size += f64::from(e).powi(2);
        }
    }
    (difference / size).sqrt()
}
