//! The files of `--out`. Each is written under a temporary name and renamed, so that a reader never
//! sees half a file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{RawRun, ReportError, csv, json, markdown, vllm};
use crate::ground::results::Results;

/// Creates `dir` and checks that files can be written into it. For before a run: an hour's numbers
/// must not be lost to a typing error.
///
/// # Errors
/// `Write`, naming the directory.
pub fn prepare(dir: &Path) -> Result<(), ReportError> {
    let probe = dir.join(".candlepower-probe");
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&probe, b""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|source| failed(dir, source))
}

/// Writes one more file into `dir`.
///
/// # Errors
/// `Write`, naming the file.
pub fn write_text(dir: &Path, name: &str, text: &str) -> Result<(), ReportError> {
    write(&dir.join(name), |out| out.write_all(text.as_bytes()))
}

/// Writes `results.json`, `requests.jsonl`, `steps.jsonl`, of a model with experts `experts.jsonl`,
/// `telemetry.csv`, `summary.csv`, `summary.md` and `vllm.json`. `raw` holds one entry for each of `results.runs`; with more than
/// one, raw lines carry `run` and `vllm.json` holds an array.
///
/// # Errors
/// `Write`, naming the file; `Json`.
pub fn write_all(dir: &Path, results: &Results, raw: &[RawRun]) -> Result<(), ReportError> {
    fs::create_dir_all(dir).map_err(|source| failed(dir, source))?;
    let text =
        |name: &str, text: String| write(&dir.join(name), |out| out.write_all(text.as_bytes()));
    write(&dir.join("requests.jsonl"), |out| {
        lines(out, raw, |run| &run.requests)
    })?;
    write(&dir.join("steps.jsonl"), |out| {
        lines(out, raw, |run| &run.steps)
    })?;
    let experts = dir.join("experts.jsonl");
    match raw.iter().all(|run| run.experts.is_empty()) {
        // Of a dense model there is none, nor one that an earlier run left.
        true => fs::remove_file(&experts).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(failed(&experts, error)),
        })?,
        false => write(&experts, |out| lines(out, raw, |run| &run.experts))?,
    }
    write(&dir.join("telemetry.csv"), |out| csv::telemetry(raw, out))?;
    text("summary.csv", csv::summary(results))?;
    text("summary.md", markdown::markdown(results))?;
    write(&dir.join("vllm.json"), |out| {
        serde_json::to_writer(&mut *out, &vllm_json(results, raw))?;
        writeln!(out)
    })?;
    // Last: whoever sees it finds the rest.
    text("results.json", json(results)?)
}

fn vllm_json(results: &Results, raw: &[RawRun]) -> Value {
    let pairs = results.runs.iter().zip(raw);
    let mut runs: Vec<Value> = pairs
        .map(|(run, raw)| vllm::run(results, run, raw))
        .collect();
    match runs.len() {
        1 => runs.swap_remove(0),
        _ => Value::Array(runs),
    }
}

/// A record, with its run's number when there are several.
#[derive(Serialize)]
struct Numbered<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<usize>,
    #[serde(flatten)]
    record: &'a T,
}

fn lines<'a, T: Serialize + 'a>(
    out: &mut impl Write,
    raw: &'a [RawRun],
    records: impl Fn(&'a RawRun) -> &'a Vec<T>,
) -> io::Result<()> {
    for (index, run) in raw.iter().enumerate() {
        let run_number = (raw.len() > 1).then_some(index);
        for record in records(run) {
            let line = Numbered {
                run: run_number,
                record,
            };
            serde_json::to_writer(&mut *out, &line)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), ReportError> {
    let temporary = path.with_added_extension("tmp");
    let written = File::create(&temporary).and_then(|file| {
        let mut out = BufWriter::new(file);
        fill(&mut out)?;
        out.flush()
    });
    written
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> ReportError {
    ReportError::Write {
        path: path.display().to_string(),
        source,
    }
}
