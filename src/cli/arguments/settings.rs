//! The settings of a run as a file that gives them again.

use clap::{ArgMatches, Command};
use toml::{Table, Value};

use super::layers::is_about_settings;

pub fn are_wanted(given: &ArgMatches) -> bool {
    // Some commands have no settings.
    matches!(given.try_get_one("print_config"), Ok(Some(true)))
}

/// Every flag that has a value, defaults too.
pub fn text(command: &Command, given: &ArgMatches) -> String {
    let mut table = Table::new();
    for arg in command.get_arguments() {
        let Some(flag) = arg.get_long().filter(|flag| !is_about_settings(flag)) else {
            continue;
        };
        let Some(raw) = given.get_raw(arg.get_id().as_str()) else {
            continue;
        };
        let mut values: Vec<Value> = raw
            .map(|value| value_of(&value.to_string_lossy()))
            .collect();
        let is_list = arg.get_value_delimiter().is_some() || values.len() > 1;
        let value = match (is_list, values.len()) {
            (false, 1) => values.remove(0),
            _ => Value::Array(values),
        };
        table.insert(flag.to_owned(), value);
    }
    table.to_string()
}

/// As the shortest kind of value that reads the same.
fn value_of(text: &str) -> Value {
    let integer = text.parse().map(Value::Integer).ok();
    let float = || text.parse().map(Value::Float).ok();
    let boolean = || text.parse().map(Value::Boolean).ok();
    let value = integer.or_else(float).or_else(boolean);
    let same = value.filter(|value| value.to_string() == text);
    same.unwrap_or_else(|| Value::String(text.to_owned()))
}
