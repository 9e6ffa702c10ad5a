//! Where a model's weights can lie.

use std::path::{Path, PathBuf};

use super::error::HubError;

pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// Why a model runs on made-up weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DummyReason {
    /// `--dummy-weights`.
    Requested,
    /// The model was given as a configuration file.
    ConfigOnly,
    /// The model was given as a card's name and the cache holds no complete checkpoint of it.
    CardWithoutCheckpoint,
}

/// Where a model's weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    Dummy {
        why: DummyReason,
    },
    Single(PathBuf),
    /// `index` lies in `dir`, and every shard it names is in `dir` too.
    Sharded {
        index: PathBuf,
        dir: PathBuf,
    },
    /// A complete set of `shards` in `dir` that no index lists.
    Set {
        dir: PathBuf,
        shards: Vec<String>,
    },
}

/// Whether a file is there. A link to nothing is not a missing file: something was lost behind it.
pub(super) fn is_there(path: &Path) -> Result<bool, HubError> {
    if path.is_file() {
        return Ok(true);
    }
    match std::fs::read_link(path) {
        Ok(target) if !path.exists() => Err(HubError::DeadLink {
            path: path.to_owned(),
            target,
        }),
        _ => Ok(false),
    }
}
