//! `tojson` as chat templates expect it: Python's `json.dumps` with its spacing, without HTML escapes.

use std::io;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use serde::Serialize;
use serde_json::ser::Formatter;

/// Spaces a level; a value has few levels, so what is written is bounded by it.
const WIDEST_INDENT: usize = 64;
/// Of one call.
const MOST_BYTES: usize = 16 << 20;

/// The filter: `json.dumps`, with the arguments in transformers' order. `indent` is a number of spaces or the text of
/// a level.
pub fn tojson(
    state: &mut State,
    value: &Value,
    ascii: Option<Value>,
    indent: Option<Value>,
    arguments: Kwargs,
) -> Result<Value, Error> {
    let ascii = ascii.or(arguments.get("ensure_ascii")?);
    let indent = indent.or(arguments.get("indent")?);
    let indent = indent
        .filter(|indent| !indent.is_none())
        .map(level_text)
        .transpose()?;
    let separators: Option<Vec<String>> = arguments.get("separators")?;
    let sort_keys: Option<Value> = arguments.get("sort_keys")?;
    arguments.assert_all_used()?;
    let item = if indent.is_some() { "," } else { ", " };
    let [item, key] = match separators.as_deref() {
        None => [item, ": "].map(str::to_owned),
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => return Err(refused("separators are two texts".to_owned())),
    };
    let mut style = Style {
        indent,
        item,
        key,
        ascii: ascii.is_some_and(|ascii| ascii.is_true()),
        level: 0,
        empty: false,
    };
    let mut json = json_of(value)?;
    if sort_keys.is_some_and(|sort| sort.is_true()) {
        json.sort_all_objects();
    }
    let mut out = Bounded(Vec::new());
    let mut writer = serde_json::Serializer::with_formatter(&mut out, &mut style);
    let written = json.serialize(&mut writer);
    written.map_err(|error| refused(format!("tojson: {error}")))?;
    // The engine charges for the text itself; to write it takes more than to copy it.
    state.consume_fuel(out.0.len() as u64 / 8)?;
    let text = String::from_utf8(out.0);
    text.map(Value::from)
        .map_err(|error| refused(error.to_string()))
}

/// The value as Python has it in JSON: keys become texts.
fn json_of(value: &Value) -> Result<serde_json::Value, Error> {
    let unknown = || refused(format!("tojson: a {} is not JSON", value.kind()));
    match value.kind() {
        ValueKind::Undefined => Err(unknown()),
        ValueKind::Map => {
            let mut object = serde_json::Map::new();
            for key in value.try_iter()?.checked() {
                let key = key?;
                let name = match (key.as_str(), key.kind()) {
                    (Some(name), _) => name.to_owned(),
                    (None, ValueKind::None | ValueKind::Bool | ValueKind::Number) => {
                        json_of(&key)?.to_string()
                    }
                    _ => return Err(refused(format!("tojson: a key is a {}", key.kind()))),
                };
                object.insert(name, json_of(&value.get_item(&key)?)?);
            }
            Ok(object.into())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.checked();
            items.map(|item| json_of(&item?)).collect::<Result<_, _>>()
        }
        _ => serde_json::to_value(value).map_err(|_| unknown()),
    }
}

fn level_text(indent: Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str().filter(|text| text.len() <= WIDEST_INDENT) {
        return Ok(text.to_owned());
    }
    match i64::try_from(indent.clone()) {
        Ok(width) if width <= WIDEST_INDENT as i64 => Ok(" ".repeat(width.max(0) as usize)),
        _ => Err(refused(format!(
            "tojson(indent={indent}): {WIDEST_INDENT} spaces a level are the most"
        ))),
    }
}

fn refused(detail: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_BYTES {
            return Err(io::Error::other(format!(
                "the text has more than {MOST_BYTES} bytes"
            )));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How `json.dumps` lays a value out.
struct Style {
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    level: usize,
    /// Whether the innermost container has nothing yet.
    empty: bool,
}

impl Style {
    fn open<W: ?Sized + io::Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level += 1;
        self.empty = true;
        out.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level -= 1;
        if !self.empty {
            self.new_line(out)?;
        }
        self.empty = false;
        out.write_all(bracket)
    }

    fn part<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.empty = false;
        if !first {
            out.write_all(self.item.as_bytes())?;
        }
        self.new_line(out)
    }

    fn new_line<W: ?Sized + io::Write>(&self, out: &mut W) -> io::Result<()> {
        let Some(indent) = &self.indent else {
            return Ok(());
        };
        out.write_all(b"\n")?;
        (0..self.level).try_for_each(|_| out.write_all(indent.as_bytes()))
    }
}

impl Formatter for &mut Style {
    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.part(out, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.part(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.key.as_bytes())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.ascii || fragment.is_ascii() {
            return out.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            match c.is_ascii() {
                true => out.write_all(&[c as u8])?,
                false => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        // Rust changes to powers of ten where Python does, and writes them with fewer characters.
        let text = format!("{value:?}");
        match text.split_once('e') {
            None => out.write_all(text.as_bytes()),
            Some((digits, power)) => {
                let power: i32 = power.parse().unwrap_or_default();
                write!(out, "{digits}e{power:+03}")
            }
        }
    }
}
