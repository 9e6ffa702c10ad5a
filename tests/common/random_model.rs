//! Random checkpoints: a config and seeded weights, written as Hugging Face directories.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candlepower::model::{ModelSpec, tensors};
use serde_json::Value;

use super::random::Random;

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
            let values = values(&tensor, random);
            let values = Tensor::from_vec(values, tensor.shape, &Device::Cpu).unwrap();
            (tensor.name, values.to_dtype(dtype).unwrap())
        })
        .collect();
    candle_core::safetensors::save(&weights, dir.join("model.safetensors")).unwrap();
}

fn values(tensor: &tensors::TensorSpec, random: &mut Random) -> Vec<f32> {
    let name = tensor.name.as_str();
    let (center, width) = match tensor.shape[..] {
        _ if name.ends_with("norm.weight") => (1.0, 0.4),
        [_, _] if name == tensors::EMBEDDING => (0.0, 1.0),
        [_, columns] => {
            let sharp = name.contains("q_proj") || name.contains("k_proj");
            let gain = if sharp { SHARP_GAIN } else { GAIN };
            (0.0, gain / (columns as f32).sqrt())
        }
        // Biases.
        _ => (0.0, 0.5),
    };
    let count = tensor.shape.iter().product();
    let units = random.units(count).into_iter();
    units.map(|unit| center + width * unit).collect()
}
