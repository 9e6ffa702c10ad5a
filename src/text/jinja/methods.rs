//! Python's methods of strings, lists and dicts, each paid for before it makes anything.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::strings;
use super::values::{hold, pay, refused};

/// What the engine calls for a method that it does not know.
pub fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => string(state, value, method, args),
        ValueKind::Seq | ValueKind::Iterable if method == "index" => position(state, value, args),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            let answer = match (value.kind(), method) {
                (ValueKind::Map, "copy") => Ok(value.clone()),
                (ValueKind::Seq, "copy") => Ok(value.clone()),
                _ => pycompat::unknown_method_callback(state, value, method, args),
            };
            hold(state, answer?)
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn position(state: &State, list: &Value, args: &[Value]) -> Result<Value, Error> {
    let (wanted,): (&Value,) = from_args(args)?;
    let list = hold(state, list.clone())?;
    for (at, item) in list.try_iter()?.checked().enumerate() {
        if item? == *wanted {
            return Ok(Value::from(at));
        }
    }
    Err(refused(format!("{wanted} is not in the list")))
}

/// Bytes of the largest of the arguments.
fn longest(args: &[Value]) -> usize {
    let lengths = args.iter().filter_map(|value| value.as_str().map(str::len));
    lengths.max().unwrap_or(0)
}

fn string(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let text = value.as_str().unwrap_or_default();
    pay(state, text.len().saturating_add(longest(args)))?;
    match method {
        "center" | "ljust" | "rjust" => {
            let (width, fill): (i64, Option<&str>) = from_args(args)?;
            strings::pad(state, text, width, fill.unwrap_or(" "), method)
        }
        "zfill" => {
            let (width,): (i64,) = from_args(args)?;
            let sign = text.starts_with(['+', '-']) as usize;
            let (sign, digits) = text.split_at(sign);
            let digits = strings::pad(state, digits, width - sign.len() as i64, "0", "rjust")?;
            Ok(Value::from(format!("{sign}{digits}")))
        }
        "removeprefix" => {
            let (part,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(part).unwrap_or(text)))
        }
        "removesuffix" => {
            let (part,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(part).unwrap_or(text)))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            strings::partition(text, separator, method == "rpartition")
        }
        "split" | "rsplit" => {
            let (separator, most, rest): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
            let separator = either(separator, &rest, "sep")?.filter(|value| !value.is_none());
            let most = either(most, &rest, "maxsplit")?;
            rest.assert_all_used()?;
            let most = most.and_then(|most| usize::try_from(most).ok());
            let separator = separator.as_ref().map(text_of).transpose()?;
            strings::split(state, text, separator, most, method == "rsplit")
        }
        "splitlines" => {
            let (keep, rest): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = either(keep, &rest, "keepends")?.unwrap_or(false);
            rest.assert_all_used()?;
            strings::lines(state, text, keep)
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let (part, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            strings::find(text, part, start, end, method)
        }
        "startswith" | "endswith" if args.len() > 1 => {
            let (part, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
            let (inner, _) = strings::window(text, start, end);
            let inner = Value::from(inner.unwrap_or_default());
            pycompat::unknown_method_callback(state, &inner, method, std::slice::from_ref(part))
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            strings::join(state, text, items)
        }
        "replace" => {
            let (old, new, count, rest): (&str, &str, Option<i64>, Kwargs) = from_args(args)?;
            let count = either(count, &rest, "count")?.unwrap_or(-1);
            rest.assert_all_used()?;
            strings::replace(state, text, old, new, count)
        }
        "expandtabs" => {
            let (width,): (Option<i64>,) = from_args(args)?;
            strings::expand_tabs(state, text, width.unwrap_or(8))
        }
        "format" => {
            strings::pay_for_format(state, text, args)?;
            pycompat::unknown_method_callback(state, value, method, args)
        }
        "title" => Ok(Value::from(strings::title(text))),
        "swapcase" => Ok(Value::from(strings::swap_case(text))),
        "casefold" => Ok(Value::from(text.to_lowercase().replace('ß', "ss"))),
        "istitle" => Ok(Value::from(strings::is_title(text))),
        "isdecimal" => Ok(Value::from(
            !text.is_empty() && text.chars().all(|c| c.is_numeric()),
        )),
        "isidentifier" => Ok(Value::from(strings::is_identifier(text))),
        "isprintable" => Ok(Value::from(!text.chars().any(char::is_control))),
        _ => pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn either<T>(positional: Option<T>, named: &Kwargs, name: &str) -> Result<Option<T>, Error>
where
    T: for<'a> minijinja::value::ArgType<'a, Output = T>,
{
    match positional {
        Some(value) => Ok(Some(value)),
        None => named.get::<Option<T>>(name),
    }
}

fn text_of(value: &Value) -> Result<&str, Error> {
    value
        .as_str()
        .ok_or_else(|| refused(format!("{value} is not a text")))
}
