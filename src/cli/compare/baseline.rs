//! Results kept by name.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::archive;
use crate::cli::failure::Failure;

/// What a comparison reads of a result.
const KEPT: [&str; 2] = [archive::RESULTS, "requests.jsonl"];
/// Name of a baseline that is one file.
const FILE: &str = "result";

/// The directory of baselines.
pub fn root(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let place = asked
        .map(Path::to_owned)
        .or_else(|| {
            set("XDG_DATA_HOME")
                .map(|home: OsString| PathBuf::from(home).join("candlepower/baselines"))
        })
        .or_else(|| {
            set("HOME").map(|home| PathBuf::from(home).join(".local/share/candlepower/baselines"))
        });
    place.ok_or_else(|| {
        Failure::Usage(anyhow!(
            "baselines: neither XDG_DATA_HOME nor HOME is set; give --baselines DIR"
        ))
    })
}

/// What `compare` reads for the baseline of that name.
pub fn find(root: &Path, name: &str) -> Result<String, Failure> {
    let dir = root.join(name);
    let file = dir.join(FILE);
    let place = if file.is_file() { file } else { dir };
    match place.exists() {
        true => Ok(place.display().to_string()),
        false => Err(Failure::Usage(anyhow!(
            "--baseline {name}: nothing is kept under that name in {}; keep one with --save-baseline {name}",
            root.display()
        ))),
    }
}

/// Keeps a result: beside what was kept until now, then in its place.
pub fn save(root: &Path, name: &str, result: &str) -> Result<(), Failure> {
    let keep = || -> anyhow::Result<()> {
        fs::create_dir_all(root)?;
        let aside = tempfile::Builder::new().prefix(".new").tempdir_in(root)?;
        let path = Path::new(result);
        match archive::directory(path) {
            Some(dir) => {
                for name in KEPT {
                    let from = dir.join(name);
                    if from.is_file() {
                        fs::copy(&from, aside.path().join(name))?;
                    }
                }
            }
            None => {
                fs::copy(path, aside.path().join(FILE))?;
            }
        }
        let place = root.join(name);
        let old = aside.path().join("old");
        if place.exists() {
            fs::rename(&place, &old)?;
        }
        let new = aside.keep();
        fs::rename(&new, &place)?;
        let old = place.join("old");
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
        Ok(())
    };
    keep()
        .with_context(|| {
            format!(
                "--save-baseline {name}: {result} could not be kept in {}",
                root.display()
            )
        })
        .map_err(Failure::Run)
}
