//! Whether a result can be believed: nothing in its directory was altered, every figure follows from the raw records,
//! and these keep the laws of any run.

mod cards;
mod figures;
mod files;
mod records;
mod same;
mod schedule;
mod times;

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::archive::{self, ArchiveError};
use crate::bench::RawRun;
use crate::comparison::Side;
use crate::ground::Log;
use crate::ground::results::{Check, Results};
use crate::metrics;
use crate::reference::short_name;

/// Characters of a digest in the line to cite.
const DIGEST: usize = 16;

/// What was checked of a result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// Every check holds.
    pub ok: bool,
    pub checks: Vec<Check>,
    /// To cite the result by.
    pub line: String,
}

/// A result as it was read.
#[derive(Debug)]
pub struct Evidence {
    pub results: Results,
    /// One for each of its runs.
    pub raw: Vec<RawRun>,
}

/// Checks the result in `dir`.
///
/// # Errors
/// There is none: no `results.json`, or one that is not of this version. Other files that are missing or cannot be
/// read are checks that do not hold.
pub fn audit(dir: &Path) -> Result<Audit, ArchiveError> {
    let results = archive::results(&dir.join(archive::RESULTS))?;
    let (mut checks, digest) = files::intact(dir);
    match raw(dir, &results) {
        Ok(raw) => {
            let evidence = Evidence { results, raw };
            checks.extend(figures::checks(&evidence));
            checks.extend(files::derived(dir, &evidence));
            checks.extend(schedule::check(dir, &evidence));
            for run in 0..evidence.results.runs.len() {
                checks.extend(records::checks(&evidence, run));
                checks.extend(times::checks(&evidence, run));
                checks.extend(cards::checks(&evidence, run));
            }
            Ok(conclude(checks, &evidence.results, dir, &digest))
        }
        Err(error) => {
            checks.push(held("raw records", Err(error)));
            Ok(conclude(checks, &results, dir, &digest))
        }
    }
}

fn conclude(checks: Vec<Check>, results: &Results, dir: &Path, digest: &str) -> Audit {
    let line = line(&checks, results, dir, digest);
    Audit {
        ok: checks.iter().all(|check| check.ok),
        checks,
        line,
    }
}

/// All of them must be there.
fn raw(dir: &Path, results: &Results) -> Result<Vec<RawRun>, String> {
    for name in ["requests.jsonl", "steps.jsonl", "telemetry.csv"] {
        let path = dir.join(name);
        fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    archive::raw(dir, results).map_err(|error| error.to_string())
}

/// A check, and what it says where it does not hold.
fn held(name: impl Into<String>, outcome: Result<String, String>) -> Check {
    let ok = outcome.is_ok();
    Check {
        name: name.into(),
        ok,
        detail: outcome.unwrap_or_else(|fault| fault),
    }
}

/// Of a run: with its number, where there are several.
fn name_of(evidence: &Evidence, run: usize, check: &str) -> String {
    match evidence.results.runs.len() {
        1 => check.to_owned(),
        _ => format!("run {}: {check}", run + 1),
    }
}

/// Program, machine, model, loads and their rates, and the digest of the manifest.
fn line(checks: &[Check], results: &Results, dir: &Path, digest: &str) -> String {
    let environment = &results.environment;
    let revision = environment.git.as_deref().unwrap_or("no revision");
    let hardware = &results.hardware;
    let machine = match hardware.count {
        0 | 1 => hardware.name.clone(),
        count => format!("{} x{count}", hardware.name),
    };
    let name = dir.display().to_string();
    let blocks = vec![None; results.runs.len()];
    let blocks = crate::comparison::blocks_of(dir, results.runs.len()).unwrap_or(blocks);
    let side = Side::of_results(&name, results, blocks);
    let loads = side.loads.iter().map(|load| {
        let rate = load.value("output_throughput");
        let rate = rate.map_or("no rate".to_owned(), |rate| format!("{rate:.4}"));
        let spread = crate::comparison::spread("output_throughput", load);
        let spread = spread.map_or(String::new(), |part| format!(" ±{:.1} %", 100.0 * part));
        format!("{} · {rate} tok/s{spread}", load.name)
    });
    let holding = checks.iter().filter(|check| check.ok).count();
    let verdict = match checks.len() - holding {
        0 => format!("{holding} checks hold"),
        broken => format!("{broken} of {} checks do not hold", checks.len()),
    };
    let kind = format!("{:?}", results.kind).to_lowercase();
    [
        format!("candlepower {}", environment.candlepower),
        revision.to_owned(),
        machine,
        short_name(&results.model.label()).to_owned(),
        kind,
        loads.collect::<Vec<_>>().join(" · "),
        verdict,
        format!("sha256:{}", &digest[..DIGEST.min(digest.len())]),
    ]
    .join(" · ")
}

/// Steps of all runs together.
fn all_steps(evidence: &Evidence) -> metrics::StepTotals {
    metrics::StepTotals::of(evidence.raw.iter().flat_map(steps))
}

fn steps(raw: &RawRun) -> &Log<crate::ground::StepRecord> {
    &raw.steps
}
