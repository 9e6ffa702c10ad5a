//! How the checkpoint wants its text to be drawn and ended.

use std::path::Path;

use serde_json::Value;

use super::error::{TextError, invalid, object_if_there};

const FILE: &str = "generation_config.json";

/// What `generation_config.json` says that the engine follows. Sampling is set by flags, and greedy without.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    pub eos_token_id: Vec<u32>,
}

impl GenerationConfig {
    /// `None` if `dir` has no such file.
    ///
    /// # Errors
    /// The file is malformed.
    pub fn load(dir: &Path) -> Result<Option<Self>, TextError> {
        let path = dir.join(FILE);
        let Some(config) = object_if_there(&path)? else {
            return Ok(None);
        };
        let ids = match config.get("eos_token_id") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(ids)) => ids.iter().collect(),
            Some(id) => vec![id],
        };
        let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids: Option<Vec<u32>> = ids.into_iter().map(id).collect();
        let wrong = || "eos_token_id is no token id, and no list of them".to_owned();
        Ok(Some(Self {
            eos_token_id: ids.ok_or_else(|| invalid(&path, wrong()))?,
        }))
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
