//! The files of a checkpoint and which of them hold its weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::error::HubError;
use super::shard_sets;
use super::weight_files::{WEIGHTS_INDEX, WeightFiles, is_there};
use crate::ground::json::{self, JsonError, Limits};

pub const CONFIG: &str = "config.json";
pub const GENERATION_CONFIG: &str = "generation_config.json";
pub const TOKENIZER: &str = "tokenizer.json";
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
pub const SINGLE_WEIGHTS: &str = "model.safetensors";

/// Where the tools that quantise say so, if not in `config.json`.
pub const QUANTIZATION: [&str; 3] = [
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
];

/// Small files that a repository may lack.
pub const OPTIONAL: [&str; 7] = [
    GENERATION_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    CHAT_TEMPLATE,
    QUANTIZATION[0],
    QUANTIZATION[1],
    QUANTIZATION[2],
];

/// The largest tokenizer known has 34 MB.
const MOST_TOKENIZER_BYTES: u64 = 128 << 20;
const MOST_TEMPLATE_BYTES: u64 = 4 << 20;

/// Bytes that a file of that name may have; `None`: weights, which may have any.
pub(super) fn most_bytes(file: &str) -> Option<u64> {
    match file {
        TOKENIZER => Some(MOST_TOKENIZER_BYTES),
        CHAT_TEMPLATE => Some(MOST_TEMPLATE_BYTES),
        WEIGHTS_INDEX => Some(Limits::INDEX.bytes),
        name if name.ends_with(".safetensors") => None,
        _ => Some(Limits::CONFIG.bytes),
    }
}

/// The weights in `dir`: `model.safetensors.index.json` if there, else `model.safetensors`, else a complete set of
/// `model-0000k-of-0000n.safetensors`, never any other file.
///
/// # Errors
/// None of these is there, the index is malformed, names a file outside `dir`, or a shard is missing.
pub fn weights_in(dir: &Path) -> Result<WeightFiles, HubError> {
    let index = dir.join(WEIGHTS_INDEX);
    if is_there(&index)? {
        for shard in shards(&index)? {
            if !is_there(&dir.join(&shard))? {
                return Err(HubError::MissingShard { index, shard });
            }
        }
        return Ok(WeightFiles::Sharded {
            index,
            dir: dir.to_owned(),
        });
    }
    let single = dir.join(SINGLE_WEIGHTS);
    if is_there(&single)? {
        return Ok(WeightFiles::Single(single));
    }
    shard_sets::find(dir)
}

/// All files of weights; none of dummy ones.
///
/// # Errors
/// As [`shard_tensors`].
pub(super) fn paths(weights: &WeightFiles) -> Result<Vec<PathBuf>, HubError> {
    Ok(match weights {
        WeightFiles::Dummy { .. } => Vec::new(),
        WeightFiles::Single(path) => vec![path.clone()],
        WeightFiles::Sharded { index, dir } => {
            shards(index)?.iter().map(|shard| dir.join(shard)).collect()
        }
        WeightFiles::Set { dir, shards } => shards.iter().map(|shard| dir.join(shard)).collect(),
    })
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
    let bytes = json::read_bounded(index, Limits::INDEX.bytes);
    let bytes = bytes.map_err(|source| unreadable(index, source))?;
    parse_index(&bytes, index)
}

/// As [`shard_tensors`], of the text of `index`.
///
/// # Errors
/// As [`shard_tensors`].
pub fn parse_index(text: &[u8], index: &Path) -> Result<BTreeMap<String, Vec<String>>, HubError> {
    let bad = |reason: String| HubError::BadIndex {
        index: index.to_owned(),
        reason,
    };
    let mut json = json::parse(text, Limits::INDEX).map_err(|error| bad(error.to_string()))?;
    let Some(Value::Object(map)) = json.value.get_mut("weight_map").map(Value::take) else {
        return Err(bad("it has no weight_map".to_owned()));
    };
    if map.is_empty() {
        return Err(bad("its weight_map is empty".to_owned()));
    }
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, shard) in map {
        let Value::String(shard) = shard else {
            return Err(bad(format!("the file of {tensor} is {shard}, no name")));
        };
        if !stays_inside(&shard) {
            let index = index.to_owned();
            return Err(HubError::ShardOutside { index, shard });
        }
        shards.entry(shard).or_default().push(tensor);
    }
    Ok(shards)
}

/// Whether a relative path only descends. Backslashes are refused everywhere: they separate on Windows.
pub(super) fn stays_inside(name: &str) -> bool {
    let plain = |component| matches!(component, Component::Normal(_));
    !name.is_empty() && !name.contains('\\') && Path::new(name).components().all(plain)
}

/// The text of a configuration, with its path in the error.
pub(super) fn read(path: &Path) -> Result<String, HubError> {
    let bytes = json::read_bounded(path, Limits::CONFIG.bytes);
    let bytes = bytes.map_err(|source| unreadable(path, source))?;
    let text = json::text_of(&bytes).map_err(|source| unreadable(path, source))?;
    Ok(text.to_owned())
}

fn unreadable(path: &Path, source: JsonError) -> HubError {
    HubError::Unreadable {
        path: path.to_owned(),
        source,
    }
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
            ("[", "ends in the middle"),
            ("{\"weight_map\": {\"a\": 1}}", "the file of a is 1"),
            ("<html>", "a web page"),
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
