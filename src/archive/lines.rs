//! Raw files, line by line, each line of one run of several.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ArchiveError, RESULTS};
use crate::ground::json::words::in_words;

/// What a line may take: a request of a million tokens has twenty bytes for each.
const LONGEST: usize = 64 << 20;

/// A raw file's lines, one after the other; none where it is not there.
pub struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    text: String,
    number: usize,
}

impl Lines {
    /// A file of at most `most` bytes.
    pub fn open(dir: &Path, name: &str, most: u64) -> Result<Option<Self>, ArchiveError> {
        let path = dir.join(name);
        let opened = fs::metadata(&path).and_then(|found| match found.len() {
            _ if !found.is_file() => Err(io::Error::other("it is not a regular file")),
            bytes if bytes > most => Err(io::Error::other(format!(
                "it has {bytes} bytes, and {most} are the most"
            ))),
            _ => File::open(&path),
        });
        match opened {
            Ok(file) => Ok(Some(Self {
                path,
                file: BufReader::new(file),
                text: String::new(),
                number: 0,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ArchiveError::unread(&path, error)),
        }
    }

    pub fn next(&mut self) -> Result<Option<&str>, ArchiveError> {
        self.text.clear();
        self.number += 1;
        let mut bounded = (&mut self.file).take(LONGEST as u64);
        match bounded.read_line(&mut self.text) {
            Ok(0) => Ok(None),
            Ok(LONGEST..) => Err(self.wrong("it is too long for a record".to_owned())),
            Ok(_) => Ok(Some(self.text.trim_end())),
            Err(error) => Err(self.wrong(error.to_string())),
        }
    }

    /// What is wrong with the line that was read last.
    pub fn wrong(&self, reason: String) -> ArchiveError {
        ArchiveError::Line {
            path: self.path.display().to_string(),
            line: self.number,
            reason,
        }
    }
}

/// Of a line, with the number of its run.
#[derive(Deserialize)]
struct Numbered {
    #[serde(default)]
    run: usize,
}

/// Calls `take` with the record of each line and its run, which is below `runs`.
pub fn each<T: DeserializeOwned>(
    dir: &Path,
    name: &str,
    runs: usize,
    mut take: impl FnMut(usize, T) -> Result<(), String>,
) -> Result<(), ArchiveError> {
    let Some(mut lines) = Lines::open(dir, name, u64::MAX)? else {
        return Ok(());
    };
    while let Some(text) = lines.next()? {
        let words = |error: serde_json::Error| in_words(&error.to_string());
        let mut read = || {
            let Numbered { run } = serde_json::from_str(text).map_err(words)?;
            take(
                known(run, runs)?,
                serde_json::from_str(text).map_err(words)?,
            )
        };
        if let Err(reason) = read() {
            return Err(lines.wrong(reason));
        }
    }
    Ok(())
}

/// `run`, where there are more.
pub fn known(run: usize, runs: usize) -> Result<usize, String> {
    match run < runs {
        true => Ok(run),
        false => Err(format!("it is of run {run}, which {RESULTS} has not")),
    }
}
