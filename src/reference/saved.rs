//! A directory that `--out` wrote, read back: the results, and the raw records of each run where they are there.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::LIMITS;
use crate::bench::RawRun;
use crate::ground::json::{self, JsonError, words::in_words};
use crate::ground::results::{Results, SCHEMA};
use crate::ground::{GpuSample, ProcessSample, TelemetrySample};

/// The file without which a directory holds no result.
pub const RESULTS: &str = "results.json";
/// What a line may take: a request of ten million tokens has fewer.
const LONGEST_LINE: usize = 1 << 28;

#[derive(Debug, thiserror::Error)]
pub enum SavedError {
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

/// A result as its files hold it.
#[derive(Debug)]
pub struct Saved {
    pub results: Results,
    /// Of each run; without records where a raw file is not there.
    pub raw: Vec<RawRun>,
}

/// Reads what `dir` holds.
///
/// # Errors
/// `results.json` is not there, or a file is not of its shape.
pub fn saved(dir: &Path) -> Result<Saved, SavedError> {
    let results = results(&dir.join(RESULTS))?;
    let mut raw: Vec<RawRun> = results.runs.iter().map(|_| RawRun::default()).collect();
    let kept = |pushed: io::Result<()>| pushed.map_err(|error| error.to_string());
    lines(dir, "requests.jsonl", &mut raw, |run, record| {
        kept(run.requests.push(record))
    })?;
    lines(dir, "steps.jsonl", &mut raw, |run, record| {
        kept(run.steps.push(record))
    })?;
    lines(dir, "experts.jsonl", &mut raw, |run, record| {
        run.experts.push(record);
        Ok(())
    })?;
    telemetry(dir, &mut raw)?;
    Ok(Saved { results, raw })
}

fn results(path: &Path) -> Result<Results, SavedError> {
    let shown = || path.display().to_string();
    let parse = |reason| SavedError::Parse {
        path: shown(),
        reason,
    };
    let unread = |error: JsonError| match error {
        JsonError::Io(source) => SavedError::Read {
            path: shown(),
            source,
        },
        other => parse(other.to_string()),
    };
    let file = json::read(path, LIMITS).map_err(unread)?.value;
    let schema = file.get("schema").and_then(Value::as_str).unwrap_or("");
    if schema != SCHEMA {
        return Err(parse(format!(
            "its schema is `{schema}`, this version reads `{SCHEMA}`"
        )));
    }
    serde_json::from_value(file).map_err(|error| parse(in_words(&error.to_string())))
}

/// A raw file's lines, one after the other; none where it is not there.
struct Raw {
    path: PathBuf,
    file: BufReader<File>,
    text: String,
    line: usize,
}

impl Raw {
    fn open(dir: &Path, name: &str) -> Result<Option<Self>, SavedError> {
        let path = dir.join(name);
        match File::open(&path) {
            Ok(file) => Ok(Some(Self {
                path,
                file: BufReader::new(file),
                text: String::new(),
                line: 0,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SavedError::Read {
                path: path.display().to_string(),
                source,
            }),
        }
    }

    fn next(&mut self) -> Result<Option<&str>, SavedError> {
        self.text.clear();
        self.line += 1;
        let mut bounded = io::Read::take(&mut self.file, LONGEST_LINE as u64);
        match bounded.read_line(&mut self.text) {
            Ok(0) => Ok(None),
            Ok(LONGEST_LINE..) => Err(self.wrong("it is too long for a record".to_owned())),
            Ok(_) => Ok(Some(self.text.trim_end())),
            Err(error) => Err(self.wrong(error.to_string())),
        }
    }

    fn wrong(&self, reason: String) -> SavedError {
        SavedError::Line {
            path: self.path.display().to_string(),
            line: self.line,
            reason,
        }
    }
}

/// Of a file with several runs.
#[derive(Deserialize)]
struct Numbered {
    #[serde(default)]
    run: usize,
}

fn lines<T: DeserializeOwned>(
    dir: &Path,
    name: &str,
    raw: &mut [RawRun],
    mut push: impl FnMut(&mut RawRun, T) -> Result<(), String>,
) -> Result<(), SavedError> {
    let Some(mut file) = Raw::open(dir, name)? else {
        return Ok(());
    };
    while let Some(text) = file.next()? {
        let words = |error: serde_json::Error| in_words(&error.to_string());
        let mut read = || {
            let Numbered { run } = serde_json::from_str(text).map_err(words)?;
            let run = raw.get_mut(run).ok_or_else(|| unknown(run))?;
            push(run, serde_json::from_str(text).map_err(words)?)
        };
        if let Err(reason) = read() {
            return Err(file.wrong(reason));
        }
    }
    Ok(())
}

fn unknown(run: usize) -> String {
    format!("it is of run {run}, which {RESULTS} has not")
}

/// `telemetry.csv`: columns are numbers, or empty where nothing was told.
fn telemetry(dir: &Path, raw: &mut [RawRun]) -> Result<(), SavedError> {
    let Some(mut file) = Raw::open(dir, "telemetry.csv")? else {
        return Ok(());
    };
    let head = file.next()?.unwrap_or_default();
    let columns: Vec<String> = head.split(',').map(str::to_owned).collect();
    while let Some(text) = file.next()? {
        let read = sample(&columns, text).and_then(|(run, sample)| {
            let run = raw.get_mut(run).ok_or_else(|| unknown(run))?;
            run.telemetry.push(sample);
            Ok(())
        });
        if let Err(reason) = read {
            return Err(file.wrong(reason));
        }
    }
    Ok(())
}

/// A line's run and sample. `gpu0_power_watts` is the power of the first GPU, `process1_cpu_percent` of the second process.
fn sample(columns: &[String], text: &str) -> Result<(usize, TelemetrySample), String> {
    let cells: Vec<&str> = text.split(',').collect();
    if cells.len() != columns.len() {
        let (found, all) = (cells.len(), columns.len());
        return Err(format!("it has {found} cells under {all} names"));
    }
    let mut own = Map::new();
    let mut parts: Vec<(&str, Map<String, Value>)> = Vec::new();
    for (column, cell) in columns.iter().zip(cells) {
        let value: Value = match cell {
            "" => Value::Null,
            cell => serde_json::from_str(cell).map_err(|_| format!("{column} is {cell:?}"))?,
        };
        let of_part = column.split_once('_').filter(|(whose, _)| {
            let number = whose.strip_prefix("gpu").or(whose.strip_prefix("process"));
            number.is_some_and(|number| number.parse::<usize>().is_ok())
        });
        let (map, name) = match of_part {
            None => (&mut own, column.as_str()),
            Some((whose, name)) => {
                if parts.last().is_none_or(|(last, _)| *last != whose) {
                    parts.push((whose, Map::new()));
                }
                match parts.last_mut() {
                    Some((_, map)) => (map, name),
                    None => (&mut own, name),
                }
            }
        };
        map.insert(name.to_owned(), value);
    }
    let run = own.get("run").and_then(Value::as_u64).unwrap_or(0) as usize;
    let words = |error: serde_json::Error| in_words(&error.to_string());
    let mut sample: TelemetrySample = serde_json::from_value(own.into()).map_err(words)?;
    for (whose, map) in parts {
        let map = Value::from(map);
        if whose.starts_with("gpu") {
            let gpu: GpuSample = serde_json::from_value(map).map_err(words)?;
            sample.gpus.push(gpu);
        } else {
            let process: ProcessSample = serde_json::from_value(map).map_err(words)?;
            sample.others.push(process);
        }
    }
    Ok((run, sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_telemetry_is_told_apart() {
        let head = "run,time,cpu_percent,ram_percent,rss_bytes,gpu0_power_watts,gpu0_throttle_bits,gpu1_power_watts,gpu1_throttle_bits,process1_cpu_percent";
        let columns: Vec<String> = head.split(',').map(str::to_owned).collect();
        let (run, found) = sample(&columns, "1,0.5,99.5,10.0,4096,250.0,4,,,12.5").unwrap();
        assert_eq!((run, found.time, found.rss_bytes), (1, 0.5, 4096));
        assert_eq!(found.gpus.len(), 2);
        assert_eq!(found.gpus[0].power_watts, Some(250.0));
        assert_eq!(found.gpus[0].throttle_bits, Some(4));
        assert_eq!(found.gpus[1], GpuSample::default());
        assert_eq!(found.others[0].cpu_percent, Some(12.5));
        assert!(sample(&columns, "1,0.5").unwrap_err().contains("2 cells"));
        assert!(
            sample(&columns, "1,x,1,1,1,1,1,1,1,1")
                .unwrap_err()
                .contains("time")
        );
    }
}
