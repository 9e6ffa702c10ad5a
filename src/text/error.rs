//! Why text could not be turned into tokens or back.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

/// Each message is one sentence that names the file and the way out.
#[derive(Debug, Error)]
pub enum TextError {
    #[error("{path} could not be read: {source}")]
    Read { path: PathBuf, source: io::Error },

    #[error("{path} is not valid ({reason}): fetch the file again")]
    Invalid { path: PathBuf, reason: String },

    #[error(
        "{path} has no tokenizer.json: give the prompt with --prompt-ids, or add the model's tokenizer.json"
    )]
    NoTokenizer { path: PathBuf },

    #[error("the text could not be tokenized ({reason}): give the prompt with --prompt-ids")]
    Encode { reason: String },

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

/// The text of a file, or `None` if there is no such file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, TextError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// A JSON file, or `None` if there is no such file.
pub(super) fn parse_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, TextError> {
    let Some(text) = read_if_there(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| TextError::Invalid {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}
