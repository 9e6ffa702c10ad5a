//! Why nothing can be said of a model.

use crate::ground::json::JsonError;

/// Of a value that an error shows.
const MOST_SHOWN: usize = 80;

/// Every message starts with the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    #[error("{file}: not valid JSON: {source}; fix the file or download it again")]
    Json { file: String, source: JsonError },
    #[error("{file}: not a JSON object; fix the file or download it again")]
    NotAnObject { file: String },
    #[error(
        "{file}: {key} is missing, and the model's size hangs on it; add it or download the file again"
    )]
    Missing { file: String, key: String },
    #[error("{file}: {key} is {value}, but {rule}; correct it or download the file again")]
    Invalid {
        file: String,
        key: String,
        value: String,
        rule: String,
    },
    #[error(
        "{file}: nothing is known of the model type {found:?}, so its bytes cannot be worked out from its configuration alone; give a directory, GGUF file or hub id with its weights, whose headers tell them"
    )]
    Family { file: String, found: String },
    #[error(
        "{file}: weights quantised by {method} are not known to this version, so their bytes cannot be worked out from the configuration alone; give a directory or hub id with the weights, whose headers tell them"
    )]
    Quantization { file: String, method: String },
    #[error("{file}: {reason}; download it again")]
    Damaged { file: String, reason: String },
    #[error("{file}: cannot be read: {source}; check the file and its permissions")]
    Io {
        file: String,
        source: std::io::Error,
    },
}

impl ShapeError {
    pub(super) fn invalid(
        file: &str,
        key: &str,
        value: impl ToString,
        rule: impl Into<String>,
    ) -> Self {
        let mut value = value.to_string();
        if let Some((end, _)) = value.char_indices().nth(MOST_SHOWN) {
            value.truncate(end);
            value += "…";
        }
        Self::Invalid {
            file: file.to_owned(),
            key: key.to_owned(),
            value,
            rule: rule.into(),
        }
    }
}
