//! `explain`: where the tokens a second of a run went, from the data sheet to the server.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, ValueEnum};

use super::common::OutputArgs;
use super::failure::Failure;
use super::output;
use crate::archive::{self, ArchiveError};
use crate::comparison::waterfall::{Explained, Waterfall, waterfall};
use crate::ground::results::ReferenceRun;
use crate::profile::Profile;
use crate::reference;
use crate::report::explain as shown;
use crate::report::play_names;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower explain results                             each load of a result\n  \
    candlepower explain results --load c50 --format markdown\n  \
    candlepower profile --batch 50 --json > decode.json; candlepower explain results --profile decode.json\n  \
    candlepower explain results --import vllm.json          what a server and its client leave of it\n\n\
    What a level lost adds up: the highest level less all that is lost is the lowest.\n\
    --verbose says what each level is.")]
pub struct ExplainArgs {
    /// Directory of a result: that of bench --out
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The load of this name alone, such as c50
    #[arg(long, value_name = "NAME")]
    pub load: Option<String>,
    /// What profile --json printed of the same model and device
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub profile: Vec<PathBuf>,
    /// Results of other tools, or of this one: that of the same model, card and load is the last level
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub import: Vec<PathBuf>,
    /// What stdout shows
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "json")]
    pub format: Format,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for a terminal
    Table,
    /// A table for a pull request
    Markdown,
    /// As --json
    Json,
}

pub fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let waterfalls = waterfalls(args)?;
    let all = |text: &dyn Fn(&Waterfall) -> String| {
        let texts: Vec<String> = waterfalls.iter().map(text).collect();
        output::result(&texts.join("\n"))
    };
    match (args.output.json, args.format) {
        (true, _) | (_, Format::Json) => match &waterfalls[..] {
            [one] => output::json(one),
            several => output::json(&serde_json::json!({ "waterfalls": several })),
        },
        (_, Format::Table) => {
            let width = output::width();
            all(&|one| shown::table(one, width, args.output.verbose))
        }
        (_, Format::Markdown) => all(&shown::markdown),
    }
}

fn waterfalls(args: &ExplainArgs) -> Result<Vec<Waterfall>, Failure> {
    let given = args.dir.display();
    let dir = archive::directory(&args.dir).ok_or_else(|| {
        Failure::Usage(anyhow!(
            "explain {given}: there is no results.json; give the --out directory of a run"
        ))
    })?;
    let results = archive::results(&dir.join(archive::RESULTS)).map_err(Failure::usage)?;
    let steps = archive::steps(&dir, results.runs.len()).map_err(Failure::usage)?;
    let profiles = profiles(&args.profile)?;
    let imports = imports(&args.import)?;
    let names = play_names(&results);
    let made: Vec<Waterfall> = (names.iter().zip(&steps).enumerate())
        .filter(|(_, (name, _))| args.load.as_ref().is_none_or(|load| load == *name))
        .map(|(run, (name, steps))| {
            waterfall(&Explained {
                name,
                results: &results,
                run,
                steps,
                profiles: &profiles,
                imports: &imports,
            })
        })
        .collect();
    match (&args.load, made.is_empty()) {
        (Some(load), true) => Err(Failure::Usage(anyhow!(
            "--load {load}: {given} has no such load; it has {}",
            names.join(", ")
        ))),
        (None, true) => Err(Failure::Usage(anyhow!(
            "explain {given}: it holds no run; give the directory of a bench that played one"
        ))),
        _ => Ok(made),
    }
}

/// Those of all files.
pub fn profiles(files: &[PathBuf]) -> Result<Vec<Profile>, Failure> {
    let mut found = Vec::new();
    for file in files {
        let none = |reason: &str| {
            Failure::Usage(anyhow!(
                "--profile {}: {reason}; give what `profile --json` printed",
                file.display()
            ))
        };
        let value = match archive::value(file) {
            Ok(value) => value,
            Err(ArchiveError::Read { source, .. }) => {
                return Err(none(&format!("cannot be read ({source})")));
            }
            Err(ArchiveError::Parse { reason, .. } | ArchiveError::Line { reason, .. }) => {
                return Err(none(&reason));
            }
        };
        let profiles = Profile::list(value);
        found.extend(profiles.ok_or_else(|| none("it is no profile of this version"))?);
    }
    Ok(found)
}

/// The runs of all files, a result's directory among them.
pub fn imports(files: &[PathBuf]) -> Result<Vec<ReferenceRun>, Failure> {
    let mut found = Vec::new();
    for file in files {
        let path = match archive::directory(file) {
            Some(dir) => dir.join(archive::RESULTS),
            None => Path::new(file).to_owned(),
        };
        found.extend(reference::load(&path).map_err(Failure::usage)?);
    }
    Ok(found)
}
