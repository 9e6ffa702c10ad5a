//! Quantised weights, as `quantization_config` of a `config.json` tells of them.

use serde::Serialize;
use serde_json::Value;

use super::error::{SpecError, invalid};
use super::fields::Fields;
use crate::ground::json::{self, Limits};
use crate::hub::SideFile;
use crate::shape::Quantization;

/// `quant_method` of weights in 8-bit floats.
const FP8: &str = "fp8";
/// The one format of such floats that is known, and the only one of most files, which then do not name it.
const E4M3: &str = "e4m3";
/// In place of a method's name.
const UNNAMED: &str = "an unnamed method";

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
    /// What a `config.json` says: under `quantization_config`, under `compression_config` as compressed-tensors
    /// once wrote it, or under `quantization` as MLX does.
    pub(super) fn within(config: &Fields) -> Result<Option<Self>, SpecError> {
        for key in ["quantization_config", "compression_config"] {
            if let Some(fields) = config.object(key)? {
                return Self::read(fields).map(Some);
            }
        }
        let Some(fields) = config.object("quantization")? else {
            return Ok(None);
        };
        Ok(Some(match fields.count("bits")? {
            Some(bits) => Self::other(format!("MLX in {bits} bits")),
            None => Self::other(algorithm(fields)?.unwrap_or(UNNAMED.to_owned())),
        }))
    }

    /// What a file beside `config.json` says; `None`: that there is none.
    pub(super) fn beside(side: &SideFile) -> Result<Option<Self>, SpecError> {
        let file = &side.path.display().to_string();
        let json = json::parse(side.text.as_bytes(), Limits::CONFIG);
        let json = json.map_err(|source| SpecError::Json {
            file: file.clone(),
            source,
        })?;
        let Value::Object(map) = &json.value else {
            return Err(SpecError::NotAnObject { file: file.clone() });
        };
        let fields = Fields { map, file };
        let method = match fields.object("quantization")? {
            Some(modelopt) => match algorithm(modelopt)? {
                Some(algorithm) => format!("ModelOpt in {algorithm}"),
                None => return Ok(None),
            },
            None => match (fields.count("w_bit")?, fields.count("bits")?) {
                (Some(bits), _) => format!("AWQ in {bits} bits"),
                (_, Some(bits)) => format!("GPTQ in {bits} bits"),
                _ => UNNAMED.to_owned(),
            },
        };
        let name = side.path.file_name().unwrap_or_default();
        Ok(Some(Self::other(format!(
            "{method} (by {})",
            name.display()
        ))))
    }

    /// One whose tensors are not known.
    fn other(method: String) -> Self {
        Self {
            method,
            format: None,
            weight_block_size: None,
            activation_scheme: None,
            modules_to_not_convert: Vec::new(),
            quantize_activations: false,
        }
    }

    fn read(config: Fields) -> Result<Self, SpecError> {
        let weight_block_size = match config.value("weight_block_size") {
            None => None,
            Some(value) => Some(block_size(value).ok_or_else(|| {
                invalid(
                    config.file,
                    "quantization_config.weight_block_size",
                    value,
                    "it must be two positive numbers, rows and columns of a block",
                )
            })?),
        };
        let usual = match (config.value("load_in_4bit"), config.count("bits")?) {
            (Some(_), _) => "bitsandbytes".to_owned(),
            (None, Some(bits)) => format!("{UNNAMED} in {bits} bits"),
            (None, None) => UNNAMED.to_owned(),
        };
        Ok(Self {
            method: config.text("quant_method")?.unwrap_or(usual),
            format: config.text("fmt")?,
            weight_block_size,
            activation_scheme: config.text("activation_scheme")?,
            modules_to_not_convert: config.texts("modules_to_not_convert")?.unwrap_or_default(),
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

/// `quant_algo`, as ModelOpt and TensorRT-LLM name what they did.
fn algorithm(fields: Fields) -> Result<Option<String>, SpecError> {
    fields.text("quant_algo")
}

fn block_size(value: &Value) -> Option<[usize; 2]> {
    let sizes: [usize; 2] = serde_json::from_value(value.clone()).ok()?;
    sizes.iter().all(|&n| n > 0).then_some(sizes)
}
