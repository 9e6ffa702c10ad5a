//! Random checkpoints: a config and seeded weights, written as Hugging Face directories.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candlepower::model::ModelSpec;
use candlepower::model::tensors;
use candlepower::shape::{Format, TensorSpec};
use serde_json::Value;

use super::random::Random;

const E4M3_MAX: f32 = 448.0;
/// Half-width of uniform projections, in units of `1 / sqrt(columns)`: rows of norm 1 keep about that norm.
const GAIN: f32 = 1.7;
/// For q and k: scores spread over several units, so that a wrong mask or rotation shows.
const SHARP_GAIN: f32 = 3.0;

/// Writes `config.json` and `model.safetensors` of type `dtype`; `config` keys are Hugging Face's.
pub fn write(dir: &Path, config: &Value, dtype: DType, random: &mut Random) {
    let text = config.to_string();
    let spec = ModelSpec::from_json(&text, "config.json").unwrap();
    std::fs::write(dir.join("config.json"), text).unwrap();
    let weights: HashMap<String, Tensor> = tensors::expected(&spec)
        .into_iter()
        .map(|tensor| {
            let stored = match tensor.format {
                Format::Plain => dtype,
                Format::Fp8 => DType::F8E4M3,
                // Both are found.
                Format::Scale { .. } if dtype == DType::F32 => DType::F32,
                Format::Scale { .. } => DType::BF16,
                Format::Packed { .. } | Format::Loose => panic!("{} is packed", tensor.name),
            };
            let values = values(&tensor, random);
            let values = Tensor::from_vec(values, tensor.shape, &Device::Cpu).unwrap();
            (tensor.name, values.to_dtype(stored).unwrap())
        })
        .collect();
    candle_core::safetensors::save(&weights, dir.join("model.safetensors")).unwrap();
}

fn values(tensor: &TensorSpec, random: &mut Random) -> Vec<f32> {
    let name = tensor.name.as_str();
    let (center, width) = match tensor.shape[..] {
        _ if tensor.format == Format::Fp8 => (0.0, E4M3_MAX),
        _ if name.ends_with("norm.weight") => (1.0, 0.4),
        [_, _] if name == tensors::EMBEDDING => (0.0, 1.0),
        [_, columns] => {
            let (columns, scaled) = match tensor.format {
                Format::Scale { of, .. } => (of[1], true),
                _ => (columns, false),
            };
            let sharp = name.contains("q_proj") || name.contains("k_proj");
            let gain = if sharp { SHARP_GAIN } else { GAIN };
            let width = gain / (columns as f32).sqrt();
            match scaled {
                // Blocks differ by up to 3: a wrong one is seen.
                true => (width / E4M3_MAX, width / E4M3_MAX / 2.0),
                false => (0.0, width),
            }
        }
        // Biases.
        _ => (0.0, 0.5),
    };
    let count = tensor.shape.iter().product();
    let units = random.units(count).into_iter();
    units.map(|unit| center + width * unit).collect()
}
