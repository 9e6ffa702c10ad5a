//! JSON that others wrote, read as Python's `json` module reads it, and bounded: in bytes, in depth, in memory.
//!
//! Python writes `NaN` and `Infinity`, which JSON lacks: they become the strings `"NaN"`, `"Infinity"` and
//! `"-Infinity"`, so that no reader takes one for a number. Of equal keys the last one counts, with a remark.

mod python;
pub mod words;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use self::words::in_words;
use super::foreign::Foreign;
use super::terminal::MOST_NAMED;

/// Deeper is no model's file; Python ends near 1,000.
const MOST_LEVELS: usize = 100;
/// Of an array's element or an object's entry: what it takes in memory, with the room that growing leaves.
const VALUE_BYTES: usize = 128;
const ENTRY_BYTES: usize = 256;
/// Of an object that is not empty.
const OBJECT_BYTES: usize = 512;

/// Bytes of a file of one word or one list of names.
const SMALL: u64 = 1 << 20;

/// What a file of its kind may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of the file.
    pub bytes: u64,
    /// Of the values made from it, about.
    pub memory: usize,
}

/// Plain values that are kept of a list, where a file is read for its totals.
const KEPT: usize = 64;

impl Limits {
    /// Configurations: tens of kilobytes, a few megabytes where a classifier names its classes.
    pub const CONFIG: Self = Self {
        bytes: 16 << 20,
        memory: 64 << 20,
    };
    /// The index of a checkpoint's shards: 140,000 tensors have been seen, in 15 MB.
    pub const INDEX: Self = Self {
        bytes: 48 << 20,
        memory: 128 << 20,
    };
}

/// Why a file is not such JSON: a clause that goes in brackets or behind the file's name.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("{size} bytes, where such a file has {limit} at most")]
    TooLarge { size: u64, limit: u64 },
    #[error("it is {0}; {way_out}", way_out = .0.way_out())]
    Foreign(Foreign),
    #[error("it is no UTF-8 text ({0}); save it as UTF-8")]
    Encoding(String),
    /// With line and column.
    #[error("{0}")]
    Syntax(String),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A value, and what is to be said of its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Json {
    pub value: Value,
    /// Clauses that follow the file's name.
    pub remarks: Vec<String>,
}

/// Reads a file, which is opened only if it is one (a pipe has no end).
///
/// # Errors
/// See [`JsonError`].
pub fn read(path: &Path, limits: Limits) -> Result<Json, JsonError> {
    parse(&read_bounded(path, limits.bytes)?, limits)
}

/// The bytes of a file that has so many at most.
///
/// # Errors
/// It has more, is no file, or cannot be read.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, JsonError> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file").into());
    }
    let too_large = |size| Err(JsonError::TooLarge { size, limit });
    if found.len() > limit {
        return too_large(found.len());
    }
    let mut bytes = Vec::new();
    // It may have grown since, or be one of those whose length says nothing.
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => too_large(bytes.len() as u64),
        false => Ok(bytes),
    }
}

/// The text of a small file; `None` where it is no file, larger, or no text.
pub fn small_text(path: &Path) -> Option<String> {
    String::from_utf8(read_bounded(path, SMALL).ok()?).ok()
}

/// The text of a file: UTF-8, without a byte order mark.
///
/// # Errors
/// It is in another encoding.
pub fn text_of(bytes: &[u8]) -> Result<&str, JsonError> {
    let bytes = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            return Err(JsonError::Encoding("it begins as UTF-16".to_owned()));
        }
        [0xef, 0xbb, 0xbf, text @ ..] => text,
        text => text,
    };
    std::str::from_utf8(bytes)
        .map_err(|error| JsonError::Encoding(format!("byte {}", error.valid_up_to())))
}

/// Reads a whole text.
///
/// # Errors
/// See [`JsonError`].
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Json, JsonError> {
    let size = bytes.len() as u64;
    if size > limits.bytes {
        let limit = limits.bytes;
        return Err(JsonError::TooLarge { size, limit });
    }
    if let Some(foreign) = Foreign::of(bytes).filter(|kind| *kind != Foreign::Json) {
        return Err(JsonError::Foreign(foreign));
    }
    let text = python::to_json(text_of(bytes)?);
    let mut reading = Reading::new(limits.memory, usize::MAX);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let seed = Seed {
        reading: &mut reading,
        level: 0,
    };
    let value = seed.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    Ok(Json {
        value: value.map_err(|error| JsonError::Syntax(in_words(&error.to_string())))?,
        remarks: reading.remarks(),
    })
}

/// Reads the values of a text that follow each other, as lines do or appended objects. Of a list of numbers, texts or
/// lists the first 64 are kept.
///
/// # Errors
/// See [`JsonError`].
pub fn parse_all(bytes: &[u8], limits: Limits) -> Result<Vec<Value>, JsonError> {
    let size = bytes.len() as u64;
    if size > limits.bytes {
        let limit = limits.bytes;
        return Err(JsonError::TooLarge { size, limit });
    }
    let text = python::to_json(text_of(bytes)?);
    let mut reading = Reading::new(limits.memory, KEPT);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let mut values = Vec::new();
    let in_file = |error: serde_json::Error| JsonError::Syntax(in_words(&error.to_string()));
    while deserializer.end().is_err() {
        reading.take(VALUE_BYTES).map_err(in_file)?;
        let seed = Seed {
            reading: &mut reading,
            level: 0,
        };
        let value = seed.deserialize(&mut deserializer);
        values.push(value.map_err(in_file)?);
    }
    Ok(values)
}

/// What is known in the middle of a text.
struct Reading {
    /// Bytes that may still be taken.
    room: usize,
    /// Of the plain values of a list.
    most: usize,
    /// Keys that lead to the present value.
    path: Vec<String>,
    /// Keys that came again.
    twice: Vec<String>,
    more_twice: usize,
}

impl Reading {
    fn new(room: usize, most: usize) -> Self {
        Self {
            room,
            most,
            path: Vec::new(),
            twice: Vec::new(),
            more_twice: 0,
        }
    }

    fn take<E: serde::de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.room = self
            .room
            .checked_sub(bytes)
            .ok_or_else(|| E::custom("more values than such a file has"))?;
        Ok(())
    }

    /// The key at the end of `path` was there before.
    fn repeated(&mut self) {
        let name = self.path.join(".");
        match self.twice.contains(&name) {
            true => {}
            false if self.twice.len() < MOST_NAMED => self.twice.push(name),
            false => self.more_twice += 1,
        }
    }

    fn remarks(self) -> Vec<String> {
        if self.twice.is_empty() {
            return Vec::new();
        }
        let mut names = self.twice.join(", ");
        if self.more_twice > 0 {
            names += &format!(" and {} more", self.more_twice);
        }
        vec![format!(
            "{names} given more than once; the last one counts, as in Python"
        )]
    }
}

/// A value within `level` others.
struct Seed<'a> {
    reading: &'a mut Reading,
    level: usize,
}

impl Seed<'_> {
    fn inner<E: serde::de::Error>(&mut self) -> Result<Seed<'_>, E> {
        if self.level == MOST_LEVELS {
            let reason = format!("more than {MOST_LEVELS} levels of nesting");
            return Err(E::custom(reason));
        }
        Ok(Seed {
            reading: self.reading,
            level: self.level + 1,
        })
    }

    fn number<E>(number: impl Into<Number>) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Self::number(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Self::number(value)
    }

    /// Finite: others have become strings.
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.reading.take(text.len())?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let is_plain = |first: &Value| !first.is_object();
            if list.len() >= self.reading.most && list.first().is_some_and(is_plain) {
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
            let Some(element) = elements.next_element_seed(self.inner()?)? else {
                break;
            };
            self.reading.take(VALUE_BYTES)?;
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let object = if map.is_empty() { OBJECT_BYTES } else { 0 };
            self.reading.take(object + ENTRY_BYTES + key.len())?;
            self.reading.path.push(key.clone());
            let value = entries.next_value_seed(self.inner()?)?;
            if map.insert(key, value).is_some() {
                self.reading.repeated();
            }
            self.reading.path.pop();
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests;
