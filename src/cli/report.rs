//! `report`: the page of one result or more, sweeps among them, made from their directories.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::explain;
use super::failure::Failure;
use super::output;
use super::written::Written;
use crate::archive::{self, ArchiveError, RESULTS};
use crate::bench::RawRun;
use crate::capacity::{SWEEP, SWEEP_SCHEMA, Sweep};
use crate::ground::results::Results;
use crate::report::PAGE;
use crate::report::page::{self, Content, Shown, ShownSweep};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower report results                                  writes results/report.html\n  \
    candlepower report monday tuesday --output both.html        two results in one page\n  \
    candlepower report sweep --output sweep.html                a sweep, or every result in the folders of sweep\n  \
    candlepower report results --profile ops.json --import vllm.json\n\n\
    The page is one file that loads nothing: plots, tables, and what each metric means.")]
pub struct ReportArgs {
    /// Directories that `bench --out` or `sweep --out` wrote, or folders of such directories
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
    /// The page [default: report.html in DIR; of several DIRs: in the working directory]
    #[arg(long, value_name = "FILE.html")]
    output: Option<PathBuf>,
    /// What profile --json printed: operations one by one, and in the waterfall of a result
    #[arg(long, value_name = "FILE", num_args = 1..)]
    profile: Vec<PathBuf>,
    /// Results of other tools, for the last level of the waterfall
    #[arg(long, value_name = "FILE", num_args = 1..)]
    import: Vec<PathBuf>,
    /// Say nothing on stderr but errors
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    // A result may be named by its file, as elsewhere.
    let named = args.dirs.iter();
    let named = named.map(|path| archive::directory(path).unwrap_or(path.clone()));
    let dirs: Vec<PathBuf> = named.collect();
    let mut found = Vec::new();
    for dir in &dirs {
        found.extend(results_in(dir).map_err(Failure::Usage)?);
    }
    let (swept, found): (Vec<PathBuf>, Vec<PathBuf>) = found
        .into_iter()
        .partition(|dir| !dir.join(RESULTS).is_file());
    let read = |dir: &PathBuf| read(dir).map_err(Failure::usage);
    let results = found.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let names_of_results = names(&found);
    let shown: Vec<Shown> = (names_of_results.iter().zip(&results))
        .map(|(name, (results, raw))| Shown { name, results, raw })
        .collect();
    let sweeps = swept.iter().map(|dir| sweep(dir));
    let sweeps = sweeps.collect::<Result<Vec<_>, _>>()?;
    let names_of_sweeps = names(&swept);
    let shown_sweeps: Vec<ShownSweep> = (names_of_sweeps.iter().zip(&sweeps))
        .map(|(name, sweep)| ShownSweep::new(name, sweep))
        .collect();
    let content = Content {
        results: &shown,
        sweeps: &shown_sweeps,
        profiles: &explain::profiles(&args.profile)?,
        imports: &explain::imports(&args.import)?,
    };
    let path = match (&args.output, &dirs[..]) {
        (Some(path), _) => path.clone(),
        (None, [only]) => only.join(PAGE),
        (None, _) => PathBuf::from(PAGE),
    };
    let file = Written::open("--output", Some(&path))?;
    let page = page::html(&content).map_err(Failure::run)?;
    if let Some(file) = file {
        file.fill(|out| std::io::Write::write_all(out, page.as_bytes()))?;
    }
    if !args.quiet {
        output::note(&format!("written to {}", path.display()));
    }
    Ok(())
}

fn read(dir: &Path) -> Result<(Results, Vec<RawRun>), ArchiveError> {
    let results = archive::results(&dir.join(RESULTS))?;
    let raw = archive::raw(dir, &results)?;
    Ok((results, raw))
}

fn sweep(dir: &Path) -> Result<Sweep, Failure> {
    let file = dir.join(SWEEP);
    let value = archive::value(&file).map_err(Failure::usage)?;
    let malformed = |reason: &str| {
        Failure::Usage(anyhow!(
            "{}: {reason}; give a directory that `sweep --out` of this version wrote",
            file.display()
        ))
    };
    if value["schema"] != SWEEP_SCHEMA {
        return Err(malformed("it is of another version"));
    }
    let sweep: Sweep = serde_json::from_value(value).map_err(|e| malformed(&e.to_string()))?;
    if sweep.frontier.iter().any(|at| *at >= sweep.points.len()) {
        return Err(malformed("its frontier names a point that is not there"));
    }
    Ok(sweep)
}

/// `dir` itself, or the folders in it that hold a result or a sweep, by name.
fn results_in(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let holds = |dir: &Path| dir.join(RESULTS).is_file() || dir.join(SWEEP).is_file();
    if holds(dir) {
        return Ok(vec![dir.to_owned()]);
    }
    let unreadable = |error| {
        let path = dir.display();
        anyhow!("{path}: cannot be read ({error}); give a directory that `bench --out` wrote")
    };
    let entries = fs::read_dir(dir).map_err(unreadable)?.flatten();
    let mut inside: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| holds(path))
        .collect();
    inside.sort();
    match inside.is_empty() {
        true => Err(anyhow!(
            "{}: neither it nor a folder in it has a {RESULTS} or a {SWEEP}; give a directory that `bench --out` or `sweep --out` wrote",
            dir.display()
        )),
        false => Ok(inside),
    }
}

/// The last parts of the paths, or the paths where those are not all different.
fn names(dirs: &[PathBuf]) -> Vec<String> {
    let last = |dir: &PathBuf| {
        let name = dir.file_name().unwrap_or(dir.as_os_str());
        name.to_string_lossy().into_owned()
    };
    let short: Vec<String> = dirs.iter().map(last).collect();
    let mut different = short.clone();
    different.sort();
    different.dedup();
    match different.len() == short.len() {
        true => short,
        false => dirs.iter().map(|dir| dir.display().to_string()).collect(),
    }
}
