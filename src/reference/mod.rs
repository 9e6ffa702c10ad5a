//! Other people's runs, read into the same types as ours, with their artefacts marked and their
//! definitions kept apart.

pub mod artefacts;
pub mod definition;
mod imports;
pub mod nearest;
pub mod own;
pub mod published;
pub mod rules;
mod server_cost;

use std::collections::BTreeSet;
use std::path::Path;

use crate::ground::json::{self, JsonError, Limits};
use crate::ground::results::{ReferenceRun, Scenario};

pub use definition::{Reason, comparable, comparable_figures, definition, value};
pub use own::from_results;
pub(crate) use own::from_run;
pub use server_cost::{CostRow, SERVER, server_cost};

/// `--reference none`.
const NONE: &str = "none";
/// `--reference published`.
const PUBLISHED: &str = "published";

/// Of a file of this program's results: some thousand runs.
pub(crate) const LIMITS: Limits = Limits {
    bytes: 32 << 20,
    memory: 64 << 20,
};

#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error(
        "--reference {name}: no such reference run or file; give `none`, `published`, a results file, the name of a run, or one of: {}",
        known.join(", ")
    )]
    Unknown { name: String, known: Vec<String> },
    #[error("{path}: cannot be read ({source}); give a readable results file")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{path}: {reason}; give {}", way_out(reason))]
    Parse { path: String, reason: String },
}

/// What can be read, but for the tools that `reason` has named already.
fn way_out(reason: &str) -> String {
    let tools = match reason.contains(imports::KNOWN) {
        true => "one of these".to_owned(),
        false => format!("a result of {}", imports::KNOWN),
    };
    format!(
        "{tools}, a results.json of this program, or a file shaped like models/vllm_reference.json"
    )
}

/// The reference runs that come with the program, failed ones included.
///
/// # Errors
/// The embedded file does not parse (a test holds that it does).
pub fn library() -> Result<Vec<ReferenceRun>, ReferenceError> {
    published::parse(
        include_str!("../../models/vllm_reference.json"),
        "models/vllm_reference.json",
    )
}

/// The runs that stand beside `scenarios` of `model`, by the value of `--reference`: without one
/// every run of the library whose model and load match; with a name the runs of that hardware, or
/// the one run; with `published` what others published of the model on `card`, `cards` of them, nearest to each load, and
/// the library's runs on that machine;
/// with a file the runs in it. Runs that a name or file asks for are narrowed to the
/// model and load where some match, and kept all the same where none does.
///
/// # Errors
/// `Unknown` lists the names; `Read` and `Parse` name the file.
pub fn select(
    choice: Option<&str>,
    model: &str,
    (card, cards): (Option<&str>, usize),
    scenarios: &[Scenario],
) -> Result<Vec<ReferenceRun>, ReferenceError> {
    let matching = |run: &ReferenceRun| scenarios.iter().any(|s| same_load(run, s));
    match choice {
        Some(NONE) => Ok(Vec::new()),
        Some(PUBLISHED) => {
            let mut runs = nearest::nearest(model, card, cards, scenarios)?;
            // Those of the library are published too.
            let machine = card.map(|card| format!("{card}-x{}", cards.max(1)));
            let own = library()?.into_iter().filter(|run| {
                let same_machine = machine.as_ref() == Some(&run.hardware.name);
                same_machine && same_model(&run.model, model) && matching(run)
            });
            runs.extend(own);
            Ok(runs)
        }
        None => {
            let mut runs = library()?;
            runs.retain(|run| same_model(&run.model, model) && matching(run));
            Ok(runs)
        }
        Some(name) => {
            let runs = named_or_file(name)?;
            let runs = narrow(runs, |run| same_model(&run.model, model));
            Ok(narrow(runs, matching))
        }
    }
}

/// Runs of the library by the name of their hardware or their own.
///
/// # Errors
/// `Unknown` lists the names.
pub fn named(name: &str) -> Result<Vec<ReferenceRun>, ReferenceError> {
    let library = library()?;
    let known = names(&library);
    let is_named = |run: &ReferenceRun| {
        run.name.eq_ignore_ascii_case(name) || run.hardware.name.eq_ignore_ascii_case(name)
    };
    let runs: Vec<ReferenceRun> = library.into_iter().filter(is_named).collect();
    if runs.is_empty() {
        let name = name.to_owned();
        return Err(ReferenceError::Unknown { name, known });
    }
    Ok(runs)
}

/// The library's runs on machines of this card (a name of `candlepower gpus`): those of the model, narrowed
/// to the number of cards and to the loads where some match; all of them where none is of the model.
///
/// # Errors
/// As [`library`].
pub fn on_card(
    gpu: &str,
    model: &str,
    count: usize,
    scenarios: &[Scenario],
) -> Result<Vec<ReferenceRun>, ReferenceError> {
    let mut runs = library()?;
    runs.retain(|run| run.hardware.name == format!("{gpu}-x{}", run.hardware.gpus));
    let of_model = |run: &ReferenceRun| same_model(&run.model, model);
    if !runs.iter().any(of_model) {
        return Ok(runs);
    }
    runs.retain(of_model);
    let runs = narrow(runs, |run| run.hardware.gpus == count);
    // An answer may have ended early there: its lengths do not decide here.
    let loads = |run: &ReferenceRun| scenarios.iter().any(|s| s.concurrency == run.concurrency);
    Ok(narrow(runs, loads))
}

/// Names of the hardware: each stands for all its runs.
fn names(library: &[ReferenceRun]) -> Vec<String> {
    let hardware: BTreeSet<&str> = library.iter().map(|run| &*run.hardware.name).collect();
    hardware.into_iter().map(str::to_owned).collect()
}

fn named_or_file(name: &str) -> Result<Vec<ReferenceRun>, ReferenceError> {
    let unknown = match named(name) {
        Err(error @ ReferenceError::Unknown { .. }) => error,
        other => return other,
    };
    let path = Path::new(name);
    if path.is_file() || path.extension().is_some_and(|end| end == "json") {
        load(path)
    } else {
        Err(unknown)
    }
}

/// The runs of a results file: ours, one shaped like the library's, or one of another tool.
///
/// # Errors
/// `Read` or `Parse`, naming the file.
pub fn load(path: &Path) -> Result<Vec<ReferenceRun>, ReferenceError> {
    let shown = path.display().to_string();
    let unread = |error: JsonError| match error {
        JsonError::Io(source) => ReferenceError::Read {
            path: shown.clone(),
            source,
        },
        other => ReferenceError::Parse {
            path: shown.clone(),
            reason: other.to_string(),
        },
    };
    let bytes = json::read_bounded(path, imports::LIMITS.bytes).map_err(unread)?;
    if bytes.len() as u64 <= LIMITS.bytes
        && let Ok(file) = json::parse(&bytes, LIMITS)
    {
        if own::is_own(&file.value) {
            return own::parse(file.value, &shown);
        }
        if published::is_published(&file.value) {
            return published::parse(json::text_of(&bytes).map_err(unread)?, &shown);
        }
    }
    imports::parse(&bytes, &shown).map_err(|reason| ReferenceError::Parse {
        path: shown,
        reason,
    })
}

/// Those that `keep` keeps, or all when it keeps none.
fn narrow(runs: Vec<ReferenceRun>, keep: impl Fn(&ReferenceRun) -> bool) -> Vec<ReferenceRun> {
    if runs.iter().any(&keep) {
        runs.into_iter().filter(keep).collect()
    } else {
        runs
    }
}

/// Hub ids and card names: the last part of the path decides, whatever its case.
pub fn same_model(a: &str, b: &str) -> bool {
    short_name(a).eq_ignore_ascii_case(short_name(b))
}

/// The last part of a hub id or path.
pub fn short_name(model: &str) -> &str {
    let trimmed = model.trim_end_matches('/');
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

/// The same number of requests in flight and the same lengths. A run that failed before any load
/// was played stands beside every load.
pub fn same_load(run: &ReferenceRun, scenario: &Scenario) -> bool {
    let failed_at_load = run.failure.is_some() && run.concurrency.is_none();
    failed_at_load
        || (run.concurrency.is_some()
            && run.concurrency == scenario.concurrency
            && run.input_len == scenario.input_len
            && run.output_len == scenario.output_len)
}
