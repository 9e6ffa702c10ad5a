//! Lines of JSON, each of one run of several.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ArchiveError;
use crate::ground::json::words::in_words;

/// Of a line: a request of a million tokens has twenty bytes for each.
const LONGEST: u64 = 64 << 20;

/// Of a line with the number of its run, which stands there where there are several.
#[derive(Deserialize)]
struct Numbered {
    #[serde(default)]
    run: usize,
}

/// Calls `take` with each line of a file and its run, which is below `runs`.
pub fn each<T: DeserializeOwned>(
    path: &Path,
    runs: usize,
    mut take: impl FnMut(usize, T) -> Result<(), String>,
) -> Result<(), ArchiveError> {
    let failed = |reason: String| ArchiveError::new(path, reason);
    let found = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !found.is_file() {
        return Err(failed("it is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let bounded = (&mut reader).take(LONGEST).read_until(b'\n', &mut line);
        let length = bounded.map_err(|error| failed(error.to_string()))? as u64;
        if length == 0 {
            break;
        }
        let in_line = |reason: String| failed(format!("line {number}: {reason}"));
        if length == LONGEST {
            return Err(in_line("it is longer than any".to_owned()));
        }
        let in_json = |error: serde_json::Error| in_line(in_words(&error.to_string()));
        let Numbered { run } = serde_json::from_slice(&line).map_err(in_json)?;
        if run >= runs {
            return Err(in_line(format!("it is of run {run}, and there are {runs}")));
        }
        let record = serde_json::from_slice(&line).map_err(in_json)?;
        take(run, record).map_err(in_line)?;
    }
    Ok(())
}
