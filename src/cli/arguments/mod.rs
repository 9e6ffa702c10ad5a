//! From words to a command: flags of the command line, below them those of the environment and of a file.

mod foreign;
mod layers;
mod settings;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, Error};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use super::{Cli, Command as Chosen};
use layers::Setting;

/// What the words ask for.
pub enum Asked {
    Run(Cli),
    /// The settings as a file's text, in place of running with them.
    Settings(String),
}

/// # Errors
/// A flag, a variable or a line of the file that is not understood; help and version come this way too.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, Error> {
    let words = foreign::rewritten(words);
    let command = command();
    let settings = layers::below(&command, &words)?;
    let all = words
        .into_iter()
        .chain(settings.iter().flat_map(Setting::words));
    let all = foreign::capped(all.collect());
    let name = all
        .get(1)
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let name = name.to_owned();
    let explained = |error: Error| foreign::explained(from_where(error, &settings), &name);
    let matches = command.clone().try_get_matches_from(all);
    let matches = matches.map_err(explained)?;
    if let Some((name, chosen)) = matches.subcommand()
        && settings::are_wanted(chosen)
    {
        let command = command.find_subcommand(name).unwrap_or(&command);
        return Ok(Asked::Settings(settings::text(command, chosen)));
    }
    Ok(Asked::Run(chosen(&matches)?))
}

fn chosen(matches: &ArgMatches) -> Result<Cli, Error> {
    let mut cli = Cli::from_arg_matches(matches)?;
    match (&mut cli.command, matches.subcommand()) {
        (Chosen::Generate(args), Some((_, matches))) => args.order_inputs(matches),
        (Chosen::Sweep(args), Some((_, matches))) => args.keep_words(matches),
        _ => {}
    }
    Ok(cli)
}

fn command() -> Command {
    // `--layers -1` is a bad value of --layers, not an unknown flag -1.
    let mut command = Cli::command().mut_subcommands(|command| {
        command.mut_args(|arg| {
            let takes_value = arg.get_action().takes_values();
            arg.allow_negative_numbers(takes_value)
        })
    });
    // So that conflicts are known.
    command.build();
    command
}

/// An error about a flag that nobody wrote on the command line says where it stands.
fn from_where(error: Error, settings: &[Setting]) -> Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let name = flag.split([' ', '=']).next().unwrap_or(flag);
    let setting = settings
        .iter()
        .find(|setting| name.strip_prefix("--") == Some(&setting.flag));
    match setting {
        Some(setting) => foreign::with_tip(error, &format!("it comes from {}", setting.origin)),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use clap::parser::ValueSource;

    use super::*;

    /// One of them is a value of any flag that has another name.
    const VALUES: [&str; 5] = ["2", "0.5", "1G", "pp512", "f16"];

    /// What a flag of a command holds, whatever else the command needs.
    fn held(command: &str, id: &str, words: &[String]) -> Option<Vec<OsString>> {
        let line = ["candlepower", command].map(str::to_owned);
        let line = line.iter().chain(words);
        let matches = super::command()
            .ignore_errors(true)
            .try_get_matches_from(line)
            .ok()?;
        let (_, chosen) = matches.subcommand()?;
        let given = chosen.value_source(id) == Some(ValueSource::CommandLine);
        given.then(|| {
            chosen
                .get_raw(id)
                .into_iter()
                .flatten()
                .map(OsString::from)
                .collect()
        })
    }

    #[test]
    fn every_other_name_sets_the_same_flag() {
        let mut names = 0;
        for command in super::command().get_subcommands() {
            for arg in command.get_arguments() {
                let long = arg.get_all_aliases().unwrap_or_default();
                let long = long.into_iter().map(|name| format!("--{name}"));
                let short = arg.get_all_short_aliases().unwrap_or_default();
                let short = short.into_iter().map(|letter| format!("-{letter}"));
                let ours = format!("--{}", arg.get_long().unwrap_or_default());
                let id = arg.get_id().as_str();
                for theirs in long.chain(short) {
                    let with = |name: &str, value: Option<&str>| {
                        let words: Vec<_> = [Some(name), value].into_iter().flatten().collect();
                        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
                        held(command.get_name(), id, &words)
                    };
                    let values: Vec<Option<&str>> = match arg.get_action().takes_values() {
                        true => VALUES.map(Some).to_vec(),
                        false => vec![None],
                    };
                    let taken = values
                        .into_iter()
                        .find(|value| with(&ours, *value).is_some());
                    let value = taken.unwrap_or_else(|| panic!("{ours} takes none of {VALUES:?}"));
                    assert_eq!(
                        with(&theirs, value),
                        with(&ours, value),
                        "{theirs} {value:?}"
                    );
                    names += 1;
                }
            }
        }
        assert!(names > 40, "{names}");
    }
}
