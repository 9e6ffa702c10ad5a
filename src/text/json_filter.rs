//! `tojson` as chat templates expect it: Python's `json.dumps` with its spacing, without HTML escapes.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};
use std::io;

/// The filter. `indent` is the number of spaces a level; without it all is one line with `", "` and `": "`.
/// `ensure_ascii` and `sort_keys` are taken with their defaults (false) only.
pub(super) fn tojson(value: &Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    for (name, default) in [("ensure_ascii", false), ("sort_keys", false)] {
        let given: Option<bool> = arguments.get(name)?;
        if given.is_some_and(|given| given != default) {
            let detail = format!("tojson({name}=true) is not supported");
            return Err(Error::new(ErrorKind::InvalidOperation, detail));
        }
    }
    arguments.assert_all_used()?;
    let text = match indent {
        None => to_text(value, OneLine),
        Some(width) => to_text(
            value,
            PrettyFormatter::with_indent(" ".repeat(width).as_bytes()),
        ),
    };
    text.map(Value::from).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, "the value is not JSON").with_source(error)
    })
}

fn to_text(value: &Value, formatter: impl Formatter) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, formatter,
    ))?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        separate(out, first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        separate(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

fn separate<W: ?Sized + io::Write>(out: &mut W, first: bool) -> io::Result<()> {
    match first {
        true => Ok(()),
        false => out.write_all(b", "),
    }
}
