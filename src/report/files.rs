//! The files of `--out`: what is computed first, what it is computed from last.

use std::borrow::Borrow;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::page::{self, Content, Shown};
use super::place::{Out, PAGE, Place};
use super::{RawRun, ReportError, csv, json, markdown, vllm};
use crate::ground::log::Entry;
use crate::ground::results::Results;
use crate::ground::{ExpertLoad, Log};

/// One more file of a result, by name.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// Writes `results.json`, `summary.csv`, `summary.md`, `pages`, `telemetry.csv`, of a model with experts
/// `experts.jsonl`, `steps.jsonl`, `requests.jsonl`, `vllm.json`, `report.html` and `manifest.json` aside, and moves them
/// into `dir` when they are whole. `raw` holds one entry for each of `results.runs`, whose number, from 0, raw lines
/// carry as `run`. Of several runs `vllm-1.json` is that of the first.
///
/// # Errors
/// `Outrun` where `dir` holds a result that is not to be overwritten, and says where this one is; `Write`, naming the directory; `Json`;
/// `Incomplete`, naming the first file that failed and where the others are.
pub fn write_all(
    dir: &Path,
    overwrite: bool,
    results: &Results,
    raw: &[RawRun],
    pages: &[Page],
) -> Result<(), ReportError> {
    let summary = json(results)?;
    let mut place = Place::open(dir, overwrite)?;
    let mut text = |name: &str, text: &str| place.file(name, |out| out.write_all(text.as_bytes()));
    text("results.json", &summary);
    text("summary.csv", &csv::summary(results));
    text("summary.md", &markdown::markdown(results));
    for page in pages {
        text(page.name, page.text);
    }
    place.file("telemetry.csv", |out| csv::telemetry(raw, out));
    if raw.iter().any(|run| !run.experts.is_empty()) {
        place.file("experts.jsonl", |out| {
            lines::<ExpertLoad, _>(out, raw, |run| &run.experts)
        });
    }
    place.file("steps.jsonl", |out| logs(out, raw, |run| &run.steps));
    place.file("requests.jsonl", |out| logs(out, raw, |run| &run.requests));
    for (index, (run, raw)) in results.runs.iter().zip(raw).enumerate() {
        let name = match results.runs.len() {
            1 => "vllm.json".to_owned(),
            _ => format!("vllm-{}.json", index + 1),
        };
        place.file(&name, |out| {
            serde_json::to_writer(&mut *out, &vllm::run(results, run, raw))?;
            read_to_its_end(&raw.requests)?;
            writeln!(out)
        });
    }
    let name = dir.file_name().unwrap_or(dir.as_os_str());
    let shown = Shown {
        name: &name.to_string_lossy(),
        results,
        raw,
    };
    let page = page::html(&Content {
        results: &[shown],
        ..Content::default()
    })?;
    place.file(PAGE, |out| out.write_all(page.as_bytes()));
    place.close()
}

/// A record, with its run's number.
#[derive(Serialize)]
struct Numbered<'a, T> {
    run: usize,
    #[serde(flatten)]
    record: &'a T,
}

fn lines<'a, T, R>(
    out: &mut Out,
    raw: &'a [RawRun],
    records: impl Fn(&'a RawRun) -> R,
) -> io::Result<()>
where
    T: Serialize + 'a,
    R: IntoIterator<Item: Borrow<T>>,
{
    for (index, run) in raw.iter().enumerate() {
        for record in records(run) {
            let line = Numbered {
                run: index,
                record: record.borrow(),
            };
            serde_json::to_writer(&mut *out, &line)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

fn logs<'a, T: Entry + 'a>(
    out: &mut Out,
    raw: &'a [RawRun],
    log: impl Fn(&'a RawRun) -> &'a Log<T>,
) -> io::Result<()> {
    lines::<T, _>(out, raw, &log)?;
    raw.iter().try_for_each(|run| read_to_its_end(log(run)))
}

fn read_to_its_end<T: Entry>(log: &Log<T>) -> io::Result<()> {
    match log.fault() {
        Some(fault) => Err(io::Error::other(fault.to_owned())),
        None => Ok(()),
    }
}
