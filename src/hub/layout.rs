//! The files of a checkpoint and which of them hold its weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::error::HubError;

pub const CONFIG: &str = "config.json";
pub const GENERATION_CONFIG: &str = "generation_config.json";
pub const TOKENIZER: &str = "tokenizer.json";
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
pub const SINGLE_WEIGHTS: &str = "model.safetensors";

/// Small files that a repository may lack.
pub const OPTIONAL: [&str; 4] = [
    GENERATION_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    CHAT_TEMPLATE,
];

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
}

/// The weights in `dir`: `model.safetensors.index.json` if there, else `model.safetensors`, never a glob.
///
/// # Errors
/// Neither file is there, the index is malformed, names a file outside `dir`, or one that is missing.
pub fn weights_in(dir: &Path) -> Result<WeightFiles, HubError> {
    let index = dir.join(WEIGHTS_INDEX);
    if index.is_file() {
        for shard in shards(&index)? {
            if !dir.join(&shard).is_file() {
                return Err(HubError::MissingShard { index, shard });
            }
        }
        return Ok(WeightFiles::Sharded {
            index,
            dir: dir.to_owned(),
        });
    }
    let single = dir.join(SINGLE_WEIGHTS);
    if single.is_file() {
        return Ok(WeightFiles::Single(single));
    }
    Err(HubError::NoWeights {
        dir: dir.to_owned(),
    })
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Names of the shards in a safetensors index, each once, relative to the index.
///
/// # Errors
/// As [`shard_tensors`].
pub fn shards(index: &Path) -> Result<BTreeSet<String>, HubError> {
    Ok(shard_tensors(index)?.into_keys().collect())
}

/// The tensors that a safetensors index places in each shard.
///
/// # Errors
/// The file is unreadable or not an index, or a name would leave the directory (absolute, `..`).
pub fn shard_tensors(index: &Path) -> Result<BTreeMap<String, Vec<String>>, HubError> {
    let bad = |reason: String| HubError::BadIndex {
        index: index.to_owned(),
        reason,
    };
    let parsed: Index =
        serde_json::from_str(&read(index)?).map_err(|error| bad(error.to_string()))?;
    if parsed.weight_map.is_empty() {
        return Err(bad("its weight_map is empty".to_owned()));
    }
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, shard) in parsed.weight_map {
        if !stays_inside(&shard) {
            let index = index.to_owned();
            return Err(HubError::ShardOutside { index, shard });
        }
        shards.entry(shard).or_default().push(tensor);
    }
    Ok(shards)
}

/// Whether a relative path only descends. Backslashes are refused everywhere: they separate on Windows.
fn stays_inside(name: &str) -> bool {
    let plain = |component| matches!(component, Component::Normal(_));
    !name.is_empty() && !name.contains('\\') && Path::new(name).components().all(plain)
}

/// The text of a file, with its path in the error.
pub(super) fn read(path: &Path) -> Result<String, HubError> {
    std::fs::read_to_string(path).map_err(|source| HubError::File {
        path: path.to_owned(),
        action: "read",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_with(shards: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let map: serde_json::Map<_, _> = shards
            .iter()
            .enumerate()
            .map(|(i, shard)| (format!("t{i}"), (*shard).into()))
            .collect();
        let path = dir.path().join(WEIGHTS_INDEX);
        let text = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
        std::fs::write(&path, text.to_string()).unwrap();
        (dir, path)
    }

    #[test]
    fn shards_are_listed_once() {
        let (_dir, index) = index_with(&["b", "a", "b", "sub/c"]);
        let names: Vec<_> = shards(&index).unwrap().into_iter().collect();
        assert_eq!(names, ["a", "b", "sub/c"]);
    }

    #[test]
    fn names_that_leave_the_directory_are_refused_by_name() {
        for name in ["../x", "/etc/passwd", "a/../../x", "..\\x", "./a/..", ""] {
            let (_dir, index) = index_with(&["good", name]);
            let error = shards(&index).unwrap_err();
            assert!(matches!(error, HubError::ShardOutside { .. }), "{name}");
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_index_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(WEIGHTS_INDEX);
        for (text, reason) in [
            ("{}", "weight_map"),
            ("{\"weight_map\": {}}", "empty"),
            ("[", "EOF"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = shards(&path).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn the_index_wins_over_a_single_file_and_needs_all_its_shards() {
        let (dir, index) = index_with(&["a"]);
        std::fs::write(dir.path().join(SINGLE_WEIGHTS), "").unwrap();
        let error = weights_in(dir.path()).unwrap_err().to_string();
        assert!(error.contains("`a`"), "{error}");
        std::fs::write(dir.path().join("a"), "").unwrap();
        let found = weights_in(dir.path()).unwrap();
        assert!(matches!(found, WeightFiles::Sharded { .. }));
        std::fs::remove_file(index).unwrap();
        let single = weights_in(dir.path()).unwrap();
        assert_eq!(single, WeightFiles::Single(dir.path().join(SINGLE_WEIGHTS)));
    }
}
