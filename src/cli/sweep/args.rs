//! Flags of `sweep`.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::super::bench::BenchArgs;
use crate::capacity::GridAxis;

/// Flags of `bench` that are the sweep's own.
const OF_THE_SWEEP: [&str; 10] = [
    "out",
    "overwrite",
    "format",
    "json",
    "quiet",
    "verbose",
    "config",
    "print-config",
    "help",
    "version",
];
/// Flags of `bench` that a sweep takes nowhere.
const REFUSED: [&str; 6] = [
    "shapes",
    "depth",
    "trace",
    "trace-steps",
    "log-schedule",
    "reference",
];

/// Whether it says nothing of a point.
fn is_shared(flag: &str) -> bool {
    OF_THE_SWEEP.contains(&flag) || REFUSED.contains(&flag)
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower sweep --grid concurrency=1..64*2 --out sweep\n  \
    candlepower sweep --grid tp=1,2 --grid concurrency=1,8,64 --model ./my-model --output-len 128 --out sweep\n  \
    candlepower sweep --grid device=sim:h100-sxm,sim:h200 --grid concurrency=1..256*4 --model DeepSeek-R1-Distill-Llama-8B --out sweep --json\n  \
    candlepower sweep --points loads.toml --grid prefix-cache=false,true --out sweep\n\n\
    A file of points has a table [[point]] for each, whose keys are flags of bench.\n\
    A second run with the same --out plays what the first has not")]
pub struct SweepArgs {
    /// A flag of bench and its values: NAME=V1,V2, with ranges 1..64*2 (doubling) and 64..512+64; several are combined
    #[arg(long, value_name = "NAME=V1,V2,...", value_parser = GridAxis::parse, required_unless_present_any = ["points", "print_config"], help_heading = "Points")]
    pub grid: Vec<GridAxis>,
    /// Points one by one, each combined with the grids
    #[arg(long, value_name = "FILE.toml", help_heading = "Points")]
    pub points: Option<PathBuf>,

    #[command(flatten)]
    pub bench: BenchArgs,

    /// Flags that were given for every point, as words.
    #[arg(skip)]
    given: Vec<(String, Option<String>)>,
}

/// A flag of a point, and why it cannot be.
pub type Refusal = String;

impl SweepArgs {
    /// Keeps the words that every point shares.
    pub fn keep_words(&mut self, matches: &ArgMatches) {
        for arg in bench().get_arguments() {
            let id = arg.get_id().as_str();
            let (Some(flag), Some(ValueSource::CommandLine)) =
                (arg.get_long(), matches.value_source(id))
            else {
                continue;
            };
            let values = matches.get_raw(id).into_iter().flatten();
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            let value = arg.get_action().takes_values().then(|| values.join(","));
            self.given.push((flag.to_owned(), value));
        }
    }

    /// # Errors
    /// A flag that a sweep does not take.
    pub fn check(&self) -> Result<(), Refusal> {
        match self
            .given
            .iter()
            .find(|(flag, _)| REFUSED.contains(&flag.as_str()))
        {
            Some((flag, _)) => Err(format!(
                "--{flag} is for bench alone; leave it out of a sweep"
            )),
            None => Ok(()),
        }
    }

    /// What `bench` would be told of one point.
    ///
    /// # Errors
    /// A setting is no flag of bench, or its value is not.
    pub fn point(&self, settings: &[(String, String)]) -> Result<BenchArgs, Refusal> {
        let command = bench();
        let mut own = Vec::new();
        let mut words = vec!["bench".to_owned()];
        for (flag, value) in settings {
            let known = command.get_arguments().find(|arg| {
                let aliases = arg.get_all_aliases().unwrap_or_default();
                arg.get_long() == Some(flag.as_str()) || aliases.contains(&flag.as_str())
            });
            let name = known.and_then(|arg| arg.get_long());
            let (Some(arg), Some(name)) = (known, name) else {
                let all = command.get_arguments().filter_map(|arg| arg.get_long());
                let nearest = all.min_by_key(|name| strsim::levenshtein(name, flag));
                let nearest = nearest.unwrap_or_default();
                return Err(format!(
                    "{flag}: bench has no flag --{flag}; the nearest is --{nearest}"
                ));
            };
            if is_shared(name) {
                return Err(format!("{flag}: --{name} is the same for every point"));
            }
            own.push(name.to_owned());
            match (arg.get_action().takes_values(), value.as_str()) {
                (true, _) => words.push(format!("--{name}={value}")),
                (false, "true") => words.push(format!("--{name}")),
                (false, "false") => {}
                (false, _) => return Err(format!("{flag}={value}: it is true or false")),
            }
        }
        let shared = self.given.iter();
        let shared = shared.filter(|(flag, _)| !own.contains(flag) && !is_shared(flag));
        words.extend(shared.map(|(flag, value)| match value {
            Some(value) => format!("--{flag}={value}"),
            None => format!("--{flag}"),
        }));
        let matches = command.try_get_matches_from(words);
        let parsed = matches.and_then(|matches| BenchArgs::from_arg_matches(&matches));
        parsed.map_err(|error| {
            let said = error.to_string();
            let first = said.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        })
    }
}

fn bench() -> Command {
    BenchArgs::augment_args(Command::new("bench").disable_help_flag(true))
}
