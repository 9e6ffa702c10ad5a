//! Results that were written: the files of `--out`, read back as others may have left them.

mod lines;
mod telemetry;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bench::RawRun;
use crate::ground::json::{self, JsonError};
use crate::ground::results::Results;
use crate::ground::{Log, RequestRecord, StepRecord, log};
use crate::reference::LIMITS;

/// Name of the file that makes a directory a result.
pub const RESULTS: &str = "results.json";
const REQUESTS: &str = "requests.jsonl";
const STEPS: &str = "steps.jsonl";

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{path}: cannot be read ({source}); give a directory that `bench --out` wrote")]
    Read { path: String, source: io::Error },
    #[error("{path}: {reason}; give a directory that `bench --out` of this version wrote")]
    Parse { path: String, reason: String },
    #[error("{path}, line {line}: {reason}; give the directory as `bench --out` wrote it")]
    Line {
        path: String,
        line: usize,
        reason: String,
    },
}

impl ArchiveError {
    fn unread(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.display().to_string(),
            source,
        }
    }

    fn parse(path: &Path, reason: String) -> Self {
        Self::Parse {
            path: path.display().to_string(),
            reason,
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
    match json::read(path, LIMITS) {
        Ok(read) => Ok(read.value),
        Err(JsonError::Io(source)) => Err(ArchiveError::unread(path, source)),
        Err(other) => Err(ArchiveError::parse(path, other.to_string())),
    }
}

/// A `results.json`.
///
/// # Errors
/// It cannot be read, is of another version, or not of this shape.
pub fn results(path: &Path) -> Result<Results, ArchiveError> {
    Results::of(value(path)?).map_err(|reason| ArchiveError::parse(path, reason))
}

/// What the files of a result recorded of each run; without records where a raw file is not there.
///
/// # Errors
/// A line is not of its shape, or names a run that is not there.
pub fn raw(dir: &Path, results: &Results) -> Result<Vec<RawRun>, ArchiveError> {
    let runs = results.runs.len();
    let mut raw: Vec<RawRun> = (0..runs).map(|_| RawRun::default()).collect();
    let (requests, steps) = (requests(dir, runs)?, steps(dir, runs)?);
    for (run, (requests, steps)) in raw.iter_mut().zip(requests.into_iter().zip(steps)) {
        (run.requests, run.steps) = (requests, steps);
    }
    lines::each(dir, "experts.jsonl", runs, |run, load| {
        raw[run].experts.push(load);
        Ok(())
    })?;
    telemetry::telemetry(dir, &mut raw)?;
    Ok(raw)
}

/// `requests.jsonl` of `runs` runs, in the order of its lines.
///
/// # Errors
/// As [`raw`].
pub fn requests(dir: &Path, runs: usize) -> Result<Vec<Log<RequestRecord>>, ArchiveError> {
    logs(dir, REQUESTS, runs)
}

/// `steps.jsonl`, likewise.
///
/// # Errors
/// As [`raw`].
pub fn steps(dir: &Path, runs: usize) -> Result<Vec<Log<StepRecord>>, ArchiveError> {
    logs(dir, STEPS, runs)
}

fn logs<T: log::Entry>(dir: &Path, name: &str, runs: usize) -> Result<Vec<Log<T>>, ArchiveError> {
    let mut found: Vec<Log<T>> = (0..runs).map(|_| Log::default()).collect();
    lines::each(dir, name, runs, |run, record| {
        let pushed = found[run].push(record);
        pushed.map_err(|error| error.to_string())
    })?;
    Ok(found)
}
