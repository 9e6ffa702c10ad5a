//! The keys of a configuration, each as the type that it must have.

use serde_json::{Map, Value};

use super::error::{SpecError, invalid};

/// Entries of a list: they name layers or modules, and are gone through for each tensor.
const MOST_LISTED: usize = 1 << 12;

/// An object of a file. A key that is null counts as absent.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub map: &'a Map<String, Value>,
    pub file: &'a str,
}

type Field<T> = Result<Option<T>, SpecError>;

impl<'a> Fields<'a> {
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn of<T>(
        &self,
        key: &'static str,
        rule: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Field<T> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match read(value) {
            None => Err(invalid(self.file, key, value, rule)),
            found => Ok(found),
        }
    }

    pub fn count(&self, key: &'static str) -> Field<usize> {
        self.of(key, "it must be a whole number from 0", count)
    }

    pub fn number(&self, key: &'static str) -> Field<f64> {
        self.of(key, "it must be a finite number", Value::as_f64)
    }

    pub fn flag(&self, key: &'static str) -> Field<bool> {
        self.of(key, "it must be true or false", Value::as_bool)
    }

    pub fn text(&self, key: &'static str) -> Field<String> {
        self.of(key, "it must be text in quotes", text)
    }

    pub fn texts(&self, key: &'static str) -> Field<Vec<String>> {
        self.list(
            key,
            "it must be a list of at most 4096 texts in quotes",
            text,
        )
    }

    pub fn counts(&self, key: &'static str) -> Field<Vec<usize>> {
        self.list(
            key,
            "it must be a list of at most 4096 whole numbers",
            count,
        )
    }

    fn list<T>(
        &self,
        key: &'static str,
        rule: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Field<Vec<T>> {
        self.of(key, rule, |value| {
            let list = value.as_array().filter(|list| list.len() <= MOST_LISTED)?;
            list.iter().map(read).collect()
        })
    }

    /// An object; an empty one counts as absent, as Python's `or` has it.
    pub fn object(&self, key: &'static str) -> Field<Fields<'a>> {
        let file = self.file;
        let fields = self.of(key, "it must be an object", |value| {
            value.as_object().map(|map| Fields { map, file })
        })?;
        Ok(fields.filter(|fields| !fields.map.is_empty()))
    }
}

fn count(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
