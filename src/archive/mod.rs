//! Results that were written: the files of `--out`, read back as others may have left them.

mod lines;
mod telemetry;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ground::json::words::in_words;
use crate::ground::json::{self, Limits};
use crate::ground::log::Entry;
use crate::ground::results::{Results, SCHEMA};
use crate::ground::{ExpertLoad, Log, RequestRecord, StepRecord};

pub use telemetry::telemetry;

/// Name of the file that makes a directory a result.
pub const RESULTS: &str = "results.json";

/// Some thousand runs.
const LIMITS: Limits = Limits {
    bytes: 64 << 20,
    memory: 256 << 20,
};

#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ArchiveError {
    pub path: String,
    /// A clause.
    pub reason: String,
}

impl ArchiveError {
    pub(crate) fn new(path: &Path, reason: impl ToString) -> Self {
        Self {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }
}

/// The directory of `path`, where it is one that holds a result, or the `results.json` of one.
pub fn directory(path: &Path) -> Option<PathBuf> {
    if path.join(RESULTS).is_file() {
        return Some(path.to_owned());
    }
    let is_results = path.file_name().is_some_and(|name| name == RESULTS);
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    (is_results && path.is_file()).then(|| parent.unwrap_or(Path::new(".")).to_owned())
}

/// The value in a file of JSON.
///
/// # Errors
/// It cannot be read, or is no JSON.
pub fn value(path: &Path) -> Result<Value, ArchiveError> {
    let read = json::read(path, LIMITS).map_err(|error| ArchiveError::new(path, error))?;
    Ok(read.value)
}

/// A `results.json`.
///
/// # Errors
/// It cannot be read, is of another version, or not of this shape.
pub fn results(path: &Path) -> Result<Results, ArchiveError> {
    let value = value(path)?;
    let schema = value.get("schema").and_then(Value::as_str).unwrap_or("");
    if schema != SCHEMA {
        let reason = format!("its schema is `{schema}`, this version reads `{SCHEMA}`");
        return Err(ArchiveError::new(path, reason));
    }
    let results = serde_json::from_value(value);
    results.map_err(|error| ArchiveError::new(path, in_words(&error.to_string())))
}

/// `requests.jsonl` of `runs` runs, in the order of its lines.
///
/// # Errors
/// A line is none of a request, or names a run that is not there.
pub fn requests(dir: &Path, runs: usize) -> Result<Vec<Log<RequestRecord>>, ArchiveError> {
    logs(&dir.join("requests.jsonl"), runs)
}

/// `steps.jsonl`.
///
/// # Errors
/// As [`requests`].
pub fn steps(dir: &Path, runs: usize) -> Result<Vec<Log<StepRecord>>, ArchiveError> {
    logs(&dir.join("steps.jsonl"), runs)
}

/// `experts.jsonl`, which only models with experts have.
///
/// # Errors
/// As [`requests`].
pub fn experts(dir: &Path, runs: usize) -> Result<Vec<Vec<ExpertLoad>>, ArchiveError> {
    let path = dir.join("experts.jsonl");
    let mut found = vec![Vec::new(); runs];
    if path.exists() {
        lines::each(&path, runs, |run, line: ExpertLoad| {
            found[run].push(line);
            Ok(())
        })?;
    }
    Ok(found)
}

fn logs<T: Entry + DeserializeOwned>(
    path: &Path,
    runs: usize,
) -> Result<Vec<Log<T>>, ArchiveError> {
    let mut found: Vec<Log<T>> = (0..runs).map(|_| Log::default()).collect();
    lines::each(path, runs, |run, record| {
        found[run].push(record).map_err(|error| error.to_string())
    })?;
    Ok(found)
}
