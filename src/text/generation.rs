//! How the checkpoint wants its text to be drawn and ended.

use std::path::Path;

use serde::Deserialize;

use super::error::{TextError, parse_if_there};

const FILE: &str = "generation_config.json";

/// What `generation_config.json` says that the engine follows. Sampling is set by flags, and greedy without.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct GenerationConfig {
    #[serde(default, deserialize_with = "one_or_many")]
    pub eos_token_id: Vec<u32>,
}

impl GenerationConfig {
    /// `None` if `dir` has no such file.
    ///
    /// # Errors
    /// The file is malformed.
    pub fn load(dir: &Path) -> Result<Option<Self>, TextError> {
        parse_if_there(&dir.join(FILE))
    }
}

/// The ids that end the output: those of `generation_config.json` when it names any, else those of the model's
/// `config.json`. May be empty.
pub fn end_tokens(model: &[u32], generation: Option<&GenerationConfig>) -> Vec<u32> {
    match generation {
        Some(generation) if !generation.eos_token_id.is_empty() => generation.eos_token_id.clone(),
        _ => model.to_vec(),
    }
}

/// An id, a list of ids, or null.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(u32),
        Many(Vec<u32>),
    }
    Ok(match Option::<Ids>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Ids::One(id)) => vec![id],
        Some(Ids::Many(ids)) => ids,
    })
}
