//! Why text could not be turned into tokens or back.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::ground::json::{self, JsonError, Limits};

/// Each message is one sentence that names the file and the way out.
#[derive(Debug, Error)]
pub enum TextError {
    #[error("{path} could not be read ({reason}): correct the file, or fetch it again")]
    Read { path: PathBuf, reason: String },

    #[error("{path} is not valid ({reason}): fetch the file again")]
    Invalid { path: PathBuf, reason: String },

    #[error(
        "{path} has no tokenizer.json: give the prompt with --prompt-ids, or add the model's tokenizer.json"
    )]
    NoTokenizer { path: PathBuf },

    #[error(
        "{path} is not used ({reason}): correct the file or fetch it again, or take a directory without it and give token ids"
    )]
    Fenced { path: PathBuf, reason: String },

    #[error("the text could not be tokenized ({reason}): give the prompt with --prompt-ids")]
    Encode { reason: String },

    #[error("the text is too long ({reason}): shorten it, or give the prompt as token ids")]
    TooLong { reason: String },

    #[error(
        "the token ids could not be decoded ({reason}): the tokenizer does not belong to this model"
    )]
    Decode { reason: String },

    #[error(
        "the tokenizer's add_bos_token is set but its bos_token `{token}` has no id: correct tokenizer_config.json"
    )]
    UnknownBos { token: String },

    #[error(
        "{file} has a list of chat templates without one named default ({names}): use a checkpoint with a default template"
    )]
    NoDefaultTemplate { file: String, names: String },

    #[error(
        "the chat template in {file} failed at line {line} ({reason}): correct the template, or prompt without --chat"
    )]
    Template {
        file: String,
        line: usize,
        reason: String,
    },

    #[error(
        "no ordinary token is left among {limit} ids to make a synthetic prompt of: check the model's vocab_size"
    )]
    NoOrdinaryToken { limit: u32 },
}

/// The bytes of a file that has `limit` at most, or `None` if there is no such file.
pub(super) fn read_if_there(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, TextError> {
    match json::read_bounded(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(JsonError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TextError::Read {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// The text of such a file.
pub(super) fn text_if_there(path: &Path, limit: u64) -> Result<Option<String>, TextError> {
    let Some(bytes) = read_if_there(path, limit)? else {
        return Ok(None);
    };
    let text = json::text_of(&bytes).map_err(|error| invalid(path, error.to_string()))?;
    Ok(Some(text.to_owned()))
}

/// A JSON object from a file, or `None` if there is no such file.
pub(super) fn object_if_there(
    path: &Path,
) -> Result<Option<serde_json::Map<String, Value>>, TextError> {
    let limits = Limits::CONFIG;
    let Some(bytes) = read_if_there(path, limits.bytes)? else {
        return Ok(None);
    };
    match json::parse(&bytes, limits).map(|json| json.value) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(invalid(path, "it is not one object in braces".to_owned())),
        Err(error) => Err(invalid(path, error.to_string())),
    }
}

pub(super) fn invalid(path: &Path, reason: String) -> TextError {
    let path = path.to_owned();
    TextError::Invalid { path, reason }
}
