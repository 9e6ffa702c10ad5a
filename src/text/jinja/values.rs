//! What a template's values may hold, and what it costs to go through them.
//!
//! Lists share what they hold, so a few steps can build one that would never be written out, or one so deep that
//! leaving it ends the stack. Each container is therefore gone through when it is made.

use minijinja::value::{ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Levels of lists in lists; `tools` have some ten.
const MOST_LEVELS: usize = 64;
/// Bytes of a container's text, about.
const MOST_BYTES: usize = 16 << 20;
/// What a value takes beside its text.
const VALUE_BYTES: usize = 32;
/// What the engine itself makes for one unit of fuel.
const BYTES_PER_UNIT: usize = 64;
/// Going through a value is so much cheaper than writing it.
const BYTES_PASSED_PER_UNIT: usize = 1024;

/// `value`, gone through and paid for. What is computed only when it is asked for becomes a list.
pub fn hold(state: &State, value: Value) -> Result<Value, Error> {
    if value.kind() == ValueKind::Number {
        return Ok(value);
    }
    let mut size = Size { bytes: 0 };
    let held = size.of(value, 0);
    state.consume_fuel((size.bytes / BYTES_PASSED_PER_UNIT) as u64)?;
    held
}

/// As [`hold`], for a value that something is to keep. No namespace: it changes later, and could come to hold itself.
pub fn hold_within(state: &State, value: Value) -> Result<Value, Error> {
    refuse_namespace(&value)?;
    hold(state, value)
}

struct Size {
    bytes: usize,
}

impl Size {
    fn of(&mut self, value: Value, level: usize) -> Result<Value, Error> {
        if level > 0 {
            refuse_namespace(&value)?;
        }
        self.add(VALUE_BYTES + value.as_str().map_or(0, str::len))?;
        let Some(object) = value.as_object() else {
            return Ok(value);
        };
        if level == MOST_LEVELS {
            return Err(refused(format!(
                "values are nested deeper than {MOST_LEVELS} levels"
            )));
        }
        match object.repr() {
            ObjectRepr::Map => {
                for key in value.try_iter()?.checked() {
                    let key = key?;
                    self.of(object.get_value(&key).unwrap_or_default(), level + 1)?;
                    self.of(key, level + 1)?;
                }
                Ok(value)
            }
            ObjectRepr::Seq => {
                for item in value.try_iter()?.checked() {
                    self.of(item?, level + 1)?;
                }
                Ok(value)
            }
            ObjectRepr::Iterable => {
                let items = value.try_iter()?.checked();
                let items = items.map(|item| self.of(item?, level + 1));
                Ok(Value::from(items.collect::<Result<Vec<_>, _>>()?))
            }
            _ => Ok(value),
        }
    }

    fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        match self.bytes > MOST_BYTES {
            true => Err(refused(format!(
                "a value takes more than {MOST_BYTES} bytes"
            ))),
            false => Ok(()),
        }
    }
}

fn refuse_namespace(value: &Value) -> Result<(), Error> {
    let object = value.as_object();
    match object.is_some_and(|object| object.type_name().ends_with("::Namespace")) {
        true => Err(refused("a namespace is put into another value".to_owned())),
        false => Ok(()),
    }
}

/// Pays for so many bytes before they are made.
pub fn pay(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / BYTES_PER_UNIT) as u64)
}

pub fn refused(detail: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}
