//! Why a `config.json` cannot be used.

use crate::ground::json::JsonError;

/// Of a value that an error shows.
const MOST_SHOWN: usize = 80;

/// Why a `config.json` cannot be used. Every message starts with the file's name.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error(
        "{file}: not valid JSON for a model config: {source}; fix the file or download it again"
    )]
    Json { file: String, source: JsonError },
    #[error("{file}: not a JSON object, so not a model config; fix the file or download it again")]
    NotAnObject { file: String },
    #[error(
        "{file}: {key} is missing, and a decoder cannot be built without it; add it or download the file again"
    )]
    Missing { file: String, key: &'static str },
    #[error("{file}: {key} is {value}, but {rule}; correct it or download the file again")]
    Invalid {
        file: String,
        key: &'static str,
        value: String,
        rule: String,
    },
    #[error(
        "{file}: architecture {found:?} is not supported; supported are llama, qwen2, qwen3 and qwen3_moe"
    )]
    Architecture { file: String, found: String },
    #[error(
        "{file}: rope scaling kind {found:?} is not supported; supported are default, linear, llama3 and yarn"
    )]
    RopeKind { file: String, found: String },
    #[error(
        "{file}: weights quantised by {method} are not known to this version, which knows bf16, f16, f32 and FP8 in blocks (quant_method fp8 with weight_block_size, in e4m3); use such a checkpoint of the model"
    )]
    QuantisationUnknown { file: String, method: String },
}

pub(super) fn invalid(
    file: &str,
    key: &'static str,
    value: impl ToString,
    rule: impl Into<String>,
) -> SpecError {
    let mut value = value.to_string();
    if let Some((end, _)) = value.char_indices().nth(MOST_SHOWN) {
        value.truncate(end);
        value += "…";
    }
    SpecError::Invalid {
        file: file.to_owned(),
        key,
        value,
        rule: rule.into(),
    }
}
