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
    let explained = |error: Error| foreign::explained(from_where(error, &settings));
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
