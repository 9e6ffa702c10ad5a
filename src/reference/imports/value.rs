//! A way through values that others wrote: what is missing or of another kind is `None`.

use serde_json::{Map, Value};

/// Runs that a file may have.
pub const MOST: usize = 4096;
/// A rate above it stands for no limit.
const UNLIMITED: f64 = 1e8;

/// What `path` (names with dots between them) leads to.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| match value {
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    })
}

/// A finite number, in quotes or not.
pub fn as_number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => parsed(text),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// The number in a text, which may have separators of thousands.
pub fn parsed(text: &str) -> Option<f64> {
    let number = text.trim().replace(',', "").parse::<f64>().ok();
    number.filter(|number| number.is_finite())
}

pub fn number(value: &Value, path: &str) -> Option<f64> {
    at(value, path).and_then(as_number)
}

/// The first of `paths` where a number is.
pub fn first(value: &Value, paths: &[&str]) -> Option<f64> {
    paths.iter().find_map(|path| number(value, path))
}

/// The first of `paths` where a text is that says something.
pub fn text(value: &Value, paths: &[&str]) -> Option<String> {
    let said = |path: &&str| {
        let text = at(value, path)?.as_str()?.trim();
        (!text.is_empty() && text != "N/A").then(|| text.to_owned())
    };
    paths.iter().find_map(said)
}

/// A count: no fraction, not below 0.
pub fn count(number: f64) -> Option<u64> {
    (number >= 0.0 && number.fract() == 0.0 && number < 1e15).then_some(number as u64)
}

/// A rate of arrivals; a bound that is none (`inf`, a billion) is `None`.
pub fn rate(value: &Value, paths: &[&str]) -> Option<f64> {
    first(value, paths).filter(|rate| *rate > 0.0 && *rate < UNLIMITED)
}

pub fn object(value: &Value) -> Option<&Map<String, Value>> {
    value.as_object()
}

/// Whether an object has all of these keys.
pub fn has(value: &Value, keys: &[&str]) -> bool {
    keys.iter().all(|key| value.get(key).is_some())
}

/// Whether an object has one of these keys.
pub fn has_any(value: &Value, keys: &[&str]) -> bool {
    keys.iter().any(|key| value.get(key).is_some())
}
