//! `report`: the page of one result or more, made from their directories.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::failure::Failure;
use super::output;
use super::written::Written;
use crate::archive::{self, ArchiveError, RESULTS};
use crate::bench::RawRun;
use crate::ground::results::Results;
use crate::report::PAGE;
use crate::report::page::{self, Shown};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower report results                                  writes results/report.html\n  \
    candlepower report monday tuesday --output both.html        two results in one page\n  \
    candlepower report sweep --output sweep.html                every result in the folders of sweep\n\n\
    The page is one file that loads nothing: plots, tables, and what each metric means.")]
pub struct ReportArgs {
    /// Directories that `bench --out` wrote, or folders of such directories
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
    /// The page [default: report.html in DIR; of several DIRs: in the working directory]
    #[arg(long, value_name = "FILE.html")]
    output: Option<PathBuf>,
    /// Say nothing on stderr but errors
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    let mut found = Vec::new();
    for dir in &args.dirs {
        found.extend(results_in(dir).map_err(Failure::Usage)?);
    }
    let read = |dir: &PathBuf| read(dir).map_err(Failure::usage);
    let results = found.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let names = names(&found);
    let shown: Vec<Shown> = (names.iter().zip(&results))
        .map(|(name, (results, raw))| Shown { name, results, raw })
        .collect();
    let path = match (&args.output, &args.dirs[..]) {
        (Some(path), _) => path.clone(),
        (None, [only]) => only.join(PAGE),
        (None, _) => PathBuf::from(PAGE),
    };
    let file = Written::open("--output", Some(&path))?;
    let page = page::html(&shown).map_err(Failure::run)?;
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

/// `dir` itself, or the folders in it that hold a result, by name.
fn results_in(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let holds = |dir: &Path| dir.join(RESULTS).is_file();
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
            "{}: neither it nor a folder in it has a {RESULTS}; give a directory that `bench --out` wrote",
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
