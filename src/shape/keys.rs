//! The keys of a configuration, under any of the names that they go by.

use serde_json::{Map, Value};

use super::error::ShapeError;

/// Sizes above this are taken for a damaged file: the largest known, of vocabularies, are a quarter of it.
const LARGEST_SIZE: u64 = 1 << 20;
/// Of positions.
const LARGEST_LENGTH: u64 = 1 << 31;
/// Entries of a list: they name layers or modules.
const MOST_LISTED: usize = 1 << 14;

/// An object of a file. A key that is null counts as absent.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub map: &'a Map<String, Value>,
    /// Sizes that the family's files may leave out.
    pub defaults: &'a [(&'static str, usize)],
    pub file: &'a str,
}

impl<'a> Keys<'a> {
    pub fn new(map: &'a Map<String, Value>, file: &'a str) -> Self {
        Self {
            map,
            defaults: &[],
            file,
        }
    }

    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A whole number under the first of `names` that is there, else what the family's files leave out.
    pub fn count(&self, names: &[&str]) -> Result<Option<usize>, ShapeError> {
        self.up_to(LARGEST_SIZE, names)
    }

    /// The same where a list has one for each layer, which must be alike.
    pub fn of_each_layer(&self, names: &[&str]) -> Result<Option<usize>, ShapeError> {
        let listed = names
            .iter()
            .find_map(|name| Some((name, self.value(name)?.as_array()?)));
        let Some((name, list)) = listed else {
            return self.count(names);
        };
        let first = list.first().and_then(Value::as_u64);
        match first.filter(|&first| first <= LARGEST_SIZE && list.iter().all(|n| n == &list[0])) {
            Some(first) => Ok(Some(first as usize)),
            None => Err(ShapeError::invalid(
                self.file,
                name,
                format!("a list of {}", list.len()),
                "layers that differ in it are not known",
            )),
        }
    }

    /// The same of a length in tokens; 0 is none.
    pub fn length(&self, names: &[&str]) -> Result<Option<usize>, ShapeError> {
        Ok(self
            .up_to(LARGEST_LENGTH, names)?
            .filter(|&length| length > 0))
    }

    fn up_to(&self, most: u64, names: &[&str]) -> Result<Option<usize>, ShapeError> {
        for name in names {
            if let Some(value) = self.value(name) {
                let number = value.as_u64().filter(|&number| number <= most);
                return match number {
                    Some(number) => Ok(Some(number as usize)),
                    None => Err(ShapeError::invalid(
                        self.file,
                        name,
                        value,
                        format!("it must be a whole number from 0 to {most}"),
                    )),
                };
            }
        }
        let left_out = self.defaults.iter().find(|(key, _)| names.contains(key));
        Ok(left_out.map(|(_, size)| *size))
    }

    /// The same, which must be there and is not 0.
    pub fn size(&self, names: &[&str]) -> Result<usize, ShapeError> {
        match self.count(names)? {
            Some(0) => Err(ShapeError::invalid(
                self.file,
                names[0],
                0,
                "it must be a positive size",
            )),
            Some(size) => Ok(size),
            None => Err(ShapeError::Missing {
                file: self.file.to_owned(),
                key: names[0].to_owned(),
            }),
        }
    }

    pub fn flag(&self, key: &str, usual: bool) -> bool {
        self.value(key).and_then(Value::as_bool).unwrap_or(usual)
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.value(key).and_then(Value::as_f64)
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.value(key).and_then(Value::as_str)
    }

    pub fn object(&self, key: &str) -> Option<Keys<'a>> {
        let map = self.value(key)?.as_object()?;
        Some(Self::new(map, self.file)).filter(|keys| !keys.map.is_empty())
    }

    /// A list of any kind; `None`: there is none.
    pub fn list(&self, key: &str) -> Result<Option<&'a [Value]>, ShapeError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value.as_array() {
            Some(list) if list.len() <= MOST_LISTED => Ok(Some(list)),
            _ => Err(ShapeError::invalid(
                self.file,
                key,
                value,
                format!("it must be a list of at most {MOST_LISTED} entries"),
            )),
        }
    }

    /// The texts of a list, whatever else stands in it; empty: there is none.
    pub fn texts(&self, key: &str) -> Result<Vec<&'a str>, ShapeError> {
        let list = self.list(key)?.unwrap_or_default();
        Ok(list.iter().filter_map(Value::as_str).collect())
    }
}
