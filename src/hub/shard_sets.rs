//! Weights that no index lists: a complete set of `model-0000k-of-0000n.safetensors`, or what lies there instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::HubError;
use super::weight_files::{WEIGHTS_INDEX, WeightFiles, is_there};
use crate::ground::terminal::listed;

const STEM: &str = "model-";
const EXTENSION: &str = ".safetensors";
/// Names of weights that are not read, by their ends, with the way out.
const OTHERS: [(&str, &str); 9] = [
    (
        ".gguf",
        "GGUF is not read; use the model's safetensors checkpoint",
    ),
    (
        ".bin",
        "PyTorch's pickles are not read; convert them with save_pretrained(safe_serialization=True)",
    ),
    (
        ".pth",
        "PyTorch's pickles are not read; convert them with save_pretrained(safe_serialization=True)",
    ),
    (
        ".pt",
        "PyTorch's pickles are not read; convert them with save_pretrained(safe_serialization=True)",
    ),
    (
        ".h5",
        "TensorFlow's files are not read; use the model's safetensors checkpoint",
    ),
    (
        ".msgpack",
        "Flax's files are not read; use the model's safetensors checkpoint",
    ),
    (".part", "a download was interrupted; finish it"),
    (".incomplete", "a download was interrupted; finish it"),
    (
        EXTENSION,
        "that name is not one of a model's weights; rename it to model.safetensors if it holds them all",
    ),
];
const ADAPTER: &str = "adapter_model.safetensors";
const CONSOLIDATED: &str = "consolidated";

/// The complete set in `dir`.
///
/// # Errors
/// There is none, or there are several; what is there instead is named.
pub(super) fn find(dir: &Path) -> Result<WeightFiles, HubError> {
    let names = names(dir)?;
    let mut sets: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (number, of) in names.iter().filter_map(|name| place(name)) {
        sets.entry(of).or_default().insert(number);
    }
    let complete = |(of, there): &(&usize, &BTreeSet<usize>)| there.len() == **of;
    let found: Vec<usize> = sets.iter().filter(complete).map(|(of, _)| *of).collect();
    let incomplete = |reason: String| HubError::Incomplete {
        dir: dir.to_owned(),
        reason,
    };
    match (&found[..], sets.first_key_value()) {
        ([of], _) => Ok(WeightFiles::Set {
            dir: dir.to_owned(),
            shards: (1..=*of).map(|number| name(number, *of)).collect(),
        }),
        ([_, _, ..], _) => Err(incomplete(format!(
            "it has complete sets of {found:?} shards, and no {WEIGHTS_INDEX} says which one counts; remove the others"
        ))),
        ([], Some((of, there))) => {
            // As many as are shown, of a number that a file's name made up.
            let missing = (1..=*of).filter(|number| !there.contains(number));
            let shown = missing.take(MOST_LOOKED_AT).map(|number| name(number, *of));
            let shown: Vec<String> = shown.collect();
            Err(incomplete(format!(
                "of {of} shards {} {} missing ({}); fetch them, with {WEIGHTS_INDEX}",
                of - there.len(),
                if of - there.len() == 1 { "is" } else { "are" },
                listed(&shown, ", ")
            )))
        }
        ([], None) => Err(instead(dir, &names)),
    }
}

/// More than are named.
const MOST_LOOKED_AT: usize = 100;

fn instead(dir: &Path, names: &[String]) -> HubError {
    let dir = dir.to_owned();
    let named = |found: &str, way_out: &str| HubError::OtherWeights {
        dir: dir.clone(),
        found: found.to_owned(),
        way_out: way_out.to_owned(),
    };
    if names.iter().any(|name| name == ADAPTER) {
        let way_out = "it is an adapter, to be merged into its base model first";
        return named(ADAPTER, way_out);
    }
    if let Some(name) = names.iter().find(|name| name.starts_with(CONSOLIDATED)) {
        let way_out =
            "it is in its authors' own layout; use the model's checkpoint for transformers";
        return named(name, way_out);
    }
    let other = OTHERS.iter().find_map(|(end, way_out)| {
        let name = names.iter().find(|name| name.ends_with(end))?;
        Some(named(name, way_out))
    });
    other.unwrap_or(HubError::NoWeights { dir })
}

/// Of the files in `dir`, ascending.
fn names(dir: &Path) -> Result<Vec<String>, HubError> {
    let failed = |source| HubError::File {
        path: dir.to_owned(),
        action: "listed",
        source,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let there = match place(&name) {
            Some(_) => is_there(&entry.path())?,
            None => entry.path().is_file(),
        };
        if there {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Of shard `number`, counted from 1.
pub(super) fn name(number: usize, of: usize) -> String {
    format!("{STEM}{number:05}-of-{of:05}{EXTENSION}")
}

/// `k` and `n` of `model-0000k-of-0000n.safetensors`.
fn place(file: &str) -> Option<(usize, usize)> {
    let middle = file.strip_prefix(STEM)?.strip_suffix(EXTENSION)?;
    let (number, of) = middle.split_once("-of-")?;
    let place = (number.parse().ok()?, of.parse().ok()?);
    let (number, of) = place;
    ((1..=of).contains(&number) && file == name(number, of)).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[&str]) -> Result<WeightFiles, HubError> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        find(dir.path())
    }

    #[test]
    fn a_complete_set_is_read_in_order() {
        for of in [1, 2, 12] {
            let names: Vec<String> = (1..=of).map(|number| name(number, of)).collect();
            let mut files: Vec<&str> = names.iter().rev().map(String::as_str).collect();
            files.extend([
                "model-00001-of-00099.safetensors",
                "model-1-of-1.safetensors",
            ]);
            let WeightFiles::Set { shards, .. } = found(&files).unwrap() else {
                panic!("{of}");
            };
            assert_eq!(shards, names);
        }
    }

    #[test]
    fn what_is_not_complete_is_named() {
        for (files, parts) in [
            (
                &["model-00002-of-00003.safetensors"][..],
                &[
                    "of 3 shards 2 are missing",
                    "model-00001-of-00003.safetensors",
                ][..],
            ),
            (
                &["model-00001-of-99999.safetensors"],
                &["99998 are missing", "and 80 more"],
            ),
            (
                &[
                    "model-00001-of-00001.safetensors",
                    "model-00001-of-00002.safetensors",
                    "model-00002-of-00002.safetensors",
                ],
                &["complete sets of [1, 2] shards"],
            ),
            (
                &["consolidated.safetensors"],
                &["consolidated.safetensors", "own layout"],
            ),
            (&["adapter_model.safetensors"], &["adapter", "merged"]),
            (
                &["pytorch_model.bin", "README.md"],
                &["pytorch_model.bin", "safe_serialization"],
            ),
            (&["pytorch_model-00001-of-00002.bin"], &["pickles"]),
            (&["model-Q4_K_M.gguf"], &["model-Q4_K_M.gguf", "GGUF"]),
            (&["tf_model.h5"], &["TensorFlow"]),
            (&["weights.safetensors"], &["weights.safetensors", "rename"]),
            (&[], &["neither", "--dummy-weights"]),
        ] {
            let message = found(files).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
