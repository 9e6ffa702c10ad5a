//! Points one by one, from a TOML file.

use std::path::Path;

use toml::{Table, Value};

use crate::ground::json::{read_bounded, text_of};

/// Bytes of such a file.
const GREATEST_FILE: u64 = 1 << 20;
const POINT: &str = "point";

/// Flag and value of each point.
///
/// # Errors
/// The file, and what is wrong with it.
pub fn read(path: &Path) -> Result<Vec<Vec<(String, String)>>, String> {
    let wrong = |what: String| format!("--points {}: {what}", path.display());
    let bytes = read_bounded(path, GREATEST_FILE).map_err(|error| wrong(error.to_string()))?;
    let text = text_of(&bytes).map_err(|error| wrong(error.to_string()))?;
    parse(text).map_err(wrong)
}

fn parse(text: &str) -> Result<Vec<Vec<(String, String)>>, String> {
    let form = || "it must hold tables [[point]], whose keys are flags of bench".to_owned();
    let file: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    if let Some(key) = file.keys().find(|key| *key != POINT) {
        return Err(format!("{key} stands outside of the points; {}", form()));
    }
    let points = file.get(POINT).and_then(Value::as_array).ok_or_else(form)?;
    let settings = |point: &Value| -> Result<Vec<(String, String)>, String> {
        let table = point.as_table().ok_or_else(form)?;
        let pairs = table.iter().map(|(key, value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => value.to_string(),
                _ => return Err(format!("{key} must be text, a number, true or false")),
            };
            Ok((key.replace('_', "-"), value))
        });
        pairs.collect()
    };
    points.iter().map(settings).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_tables_of_flags() {
        let points =
            parse("[[point]]\nconcurrency = 1\nprefix_cache = true\n[[point]]\ndevice = 'cpu'\n");
        let pair = |flag: &str, value: &str| (flag.to_owned(), value.to_owned());
        let expected = vec![
            vec![pair("concurrency", "1"), pair("prefix-cache", "true")],
            vec![pair("device", "cpu")],
        ];
        assert_eq!(points.unwrap(), expected);
        for bad in [
            "",
            "tp = 1",
            "[point]\ntp = 1",
            "[[point]]\ntp = [1]",
            "x = [",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
