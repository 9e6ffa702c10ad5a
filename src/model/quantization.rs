//! Quantised weights, as `quantization_config` of a `config.json` tells of them.

use serde::Serialize;
use serde_json::Value;

use super::error::{SpecError, invalid};
use crate::shape::Quantization;

/// `quant_method` of weights in 8-bit floats.
const FP8: &str = "fp8";
/// The one format of such floats that is known, and the only one of most files, which then do not name it.
const E4M3: &str = "e4m3";

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuantizationSpec {
    pub method: String,
    /// `fmt`: the format of 8-bit floats.
    pub format: Option<String>,
    /// Rows and columns of a block that shares a scale; `None`: the method has no blocks.
    pub weight_block_size: Option<[usize; 2]>,
    /// How the authors serve activations: `dynamic` or `static`. What is done here is `quantize_activations`.
    pub activation_scheme: Option<String>,
    /// Modules that keep the checkpoint's own type, with all inside them.
    pub modules_to_not_convert: Vec<String>,
    /// Inputs of quantised layers are quantised too, each token's groups of columns by their own largest value.
    /// The command line asks for it, no file.
    pub quantize_activations: bool,
}

impl QuantizationSpec {
    pub(super) fn from_json(config: &Value, file: &str) -> Result<Self, SpecError> {
        let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
        let present = |key: &str| config.get(key).filter(|value| !value.is_null());
        let weight_block_size = match present("weight_block_size") {
            None => None,
            Some(value) => Some(block_size(value).ok_or_else(|| {
                invalid(
                    file,
                    "quantization_config.weight_block_size",
                    value,
                    "it must be two positive numbers, rows and columns of a block",
                )
            })?),
        };
        let modules_to_not_convert = match present("modules_to_not_convert") {
            None => Vec::new(),
            Some(list) => serde_json::from_value(list.clone()).map_err(|_| {
                invalid(
                    file,
                    "quantization_config.modules_to_not_convert",
                    "not a list",
                    "it must be a list of module names",
                )
            })?,
        };
        Ok(Self {
            method: text("quant_method").unwrap_or("unnamed".to_owned()),
            format: text("fmt"),
            weight_block_size,
            activation_scheme: text("activation_scheme"),
            modules_to_not_convert,
            quantize_activations: false,
        })
    }

    /// Rows and columns of the blocks of `module`'s weight; `None`: it is not quantised.
    pub(super) fn block(&self, module: &str) -> Option<[usize; 2]> {
        let kept = self.method != FP8 || self.keeps(module);
        self.weight_block_size.filter(|_| !kept)
    }

    /// What is read of it where nothing is computed; `None`: it is not known.
    pub(super) fn in_short(&self) -> Option<Quantization> {
        let block = self.weight_block_size.filter(|_| self.method == FP8)?;
        Some(Quantization::Fp8 { block })
    }

    /// What it is, in words, where its tensors are not known.
    pub(super) fn unknown(&self) -> Option<String> {
        let format = self.format.as_deref().unwrap_or(E4M3);
        match (self.method.as_str(), self.weight_block_size) {
            (FP8, Some(_)) if format == E4M3 => None,
            (FP8, Some(_)) => Some(format!("fp8 in {format}")),
            (FP8, None) => Some("fp8 with a scale for each tensor".to_owned()),
            (method, _) => Some(method.to_owned()),
        }
    }

    /// By a name up to the end of one of its parts, or by the end of a name, as transformers' quantisers do.
    fn keeps(&self, module: &str) -> bool {
        let inside = |kept: &str| {
            let rest = module.strip_prefix(kept);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut names = self.modules_to_not_convert.iter();
        names.any(|kept| inside(kept) || module.ends_with(kept.as_str()))
    }
}

fn block_size(value: &Value) -> Option<[usize; 2]> {
    let sizes: [usize; 2] = serde_json::from_value(value.clone()).ok()?;
    sizes.iter().all(|&n| n > 0).then_some(sizes)
}
