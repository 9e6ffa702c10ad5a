//! Flags that the command line leaves out and the environment or a file has: the command line wins, then the
//! environment, then the file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Id};
use toml::{Table, Value};

use crate::ground::json::{read_bounded, text_of};

/// Before a flag's name in capitals: the variable of that flag.
const PREFIX: &str = "CANDLEPOWER_";
pub const FILE: &str = "config";
pub const PRINT: &str = "print-config";

/// Bytes of a file of settings.
const GREATEST_FILE: u64 = 1 << 20;

/// A flag from elsewhere.
pub struct Setting {
    /// Its long name.
    pub flag: String,
    /// Of a flag without a value, none.
    values: Vec<String>,
    /// Where it stands, for messages.
    pub origin: String,
}

impl Setting {
    /// As words of the command line.
    pub fn words(&self) -> Vec<OsString> {
        match self.values.as_slice() {
            [] => vec![format!("--{}", self.flag).into()],
            values => {
                let word = |value: &String| format!("--{}={value}", self.flag).into();
                values.iter().map(word).collect()
            }
        }
    }
}

/// What the environment and the file that `words` name add to them.
///
/// # Errors
/// The file cannot be read, or one of its names or values is no flag's.
pub fn below(command: &Command, words: &[OsString]) -> Result<Vec<Setting>, Error> {
    let seen = command.clone().ignore_errors(true);
    let Ok(matches) = seen.try_get_matches_from(words) else {
        return Ok(Vec::new());
    };
    let Some((name, given)) = matches.subcommand() else {
        return Ok(Vec::new());
    };
    let Some(chosen) = command.find_subcommand(name) else {
        return Ok(Vec::new());
    };
    let mut found = Found::new(chosen, given);
    for arg in chosen.get_arguments() {
        let Some(flag) = arg.get_long() else { continue };
        let variable = format!("{PREFIX}{}", flag.replace('-', "_").to_uppercase());
        // One that is empty is as one that is not there.
        match std::env::var(&variable) {
            Ok(value) if !value.is_empty() => found.add(arg, &Value::String(value), &variable)?,
            _ => {}
        }
    }
    let named = given.try_get_one::<PathBuf>(FILE).ok().flatten().cloned();
    if let Some(path) = named.or_else(|| found.value_of(FILE).map(PathBuf::from)) {
        for (key, value) in of_file(command, chosen, &path)? {
            let flag = key.replace('_', "-");
            if let Some(arg) = argument(chosen, &flag) {
                found.add(arg, &value, &format!("{key} in {}", path.display()))?;
            }
        }
    }
    Ok(found.settings)
}

/// Settings of one command, the strongest first.
struct Found<'a> {
    command: &'a Command,
    /// Flags that have a value already.
    taken: Vec<Id>,
    settings: Vec<Setting>,
}

impl<'a> Found<'a> {
    fn new(command: &'a Command, given: &ArgMatches) -> Self {
        let is_given = |id: &&Id| given.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        Self {
            command,
            taken: given.ids().filter(is_given).cloned().collect(),
            settings: Vec::new(),
        }
    }

    fn value_of(&self, flag: &str) -> Option<&str> {
        let setting = self.settings.iter().find(|setting| setting.flag == flag)?;
        setting.values.first().map(String::as_str)
    }

    /// Takes a value, unless a stronger one is there, or one that excludes it.
    fn add(&mut self, arg: &Arg, value: &Value, origin: &str) -> Result<(), Error> {
        let flag = arg.get_long().unwrap_or_default();
        let excluded = |id: &Id| {
            let other = self
                .command
                .get_arguments()
                .find(|other| other.get_id() == id);
            id == arg.get_id() || other.is_some_and(|other| self.exclude(arg, other))
        };
        if is_about_settings(flag) && flag != FILE || self.taken.iter().any(excluded) {
            return Ok(());
        }
        let wrong = |what: &str| {
            let message = format!("{origin}: {what}\n");
            Error::raw(ErrorKind::InvalidValue, message).with_cmd(self.command)
        };
        let values = match (arg.get_action().takes_values(), value) {
            (true, Value::Array(values)) => values.iter().map(text).collect(),
            (true, value) => text(value).map(|value| vec![value]),
            (false, value) => match text(value).as_deref() {
                Some("true" | "1") => Some(Vec::new()),
                Some("false" | "0") => return Ok(()),
                _ => return Err(wrong(&format!("--{flag} is true or false"))),
            },
        };
        let mut values: Vec<String> = values
            .ok_or_else(|| wrong(&format!("--{flag} takes text, a number or a list of them")))?;
        if let Some(delimiter) = arg.get_value_delimiter() {
            values = vec![values.join(&delimiter.to_string())];
        }
        self.taken.push(arg.get_id().clone());
        // Some flags go with others alone; at their defaults they ask for nothing.
        if arg.get_default_values() == values.as_slice() {
            return Ok(());
        }
        self.settings.push(Setting {
            flag: flag.to_owned(),
            values,
            origin: origin.to_owned(),
        });
        Ok(())
    }

    fn exclude(&self, a: &Arg, b: &Arg) -> bool {
        let names = |one: &Arg, other: &Arg| {
            let conflicts = self.command.get_arg_conflicts_with(one);
            conflicts.iter().any(|arg| arg.get_id() == other.get_id())
        };
        names(a, b) || names(b, a)
    }
}

/// Whether a flag says where settings are, and is none itself.
pub fn is_about_settings(flag: &str) -> bool {
    [FILE, PRINT, "help", "version"].contains(&flag)
}

fn argument<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    let mut arguments = command.get_arguments();
    arguments.find(|arg| arg.get_long() == Some(flag) && !is_about_settings(flag))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        Value::Array(_) | Value::Table(_) | Value::Datetime(_) => None,
    }
}

/// The file's settings for `chosen`: those of a table with the command's name before those outside of tables.
fn of_file(
    command: &Command,
    chosen: &Command,
    path: &Path,
) -> Result<Vec<(String, Value)>, Error> {
    let wrong = |what: String| {
        let message = format!("--{FILE} {}: {what}\n", path.display());
        Error::raw(ErrorKind::InvalidValue, message).with_cmd(chosen)
    };
    let bytes = read_bounded(path, GREATEST_FILE).map_err(|error| wrong(error.to_string()))?;
    let text = text_of(&bytes).map_err(|error| wrong(error.to_string()))?;
    let file: Table = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let mut own = Vec::new();
    let mut common = Vec::new();
    for (key, value) in file {
        match (value, command.find_subcommand(&key)) {
            (Value::Table(table), Some(of)) => {
                for (key, value) in table {
                    if argument(of, &key.replace('_', "-")).is_none() {
                        return Err(wrong(format!("{} has no flag --{key}", of.get_name())));
                    }
                    if of.get_name() == chosen.get_name() {
                        own.push((key, value));
                    }
                }
            }
            (Value::Table(_), None) => {
                return Err(wrong(format!("[{key}] is no command's name")));
            }
            // One file serves several commands.
            (value, _) => {
                let flag = key.replace('_', "-");
                let mut commands = command.get_subcommands();
                if !commands.any(|command| argument(command, &flag).is_some()) {
                    return Err(wrong(format!("no command has a flag --{flag}")));
                }
                common.push((key, value));
            }
        }
    }
    own.append(&mut common);
    Ok(own)
}
