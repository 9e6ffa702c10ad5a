//! Mappings in YAML, as programs write their reports: names, nested by indentation, and plain values. Nothing else of
//! YAML is read.

use serde_json::{Map, Value};

/// Deeper is no report.
const MOST_LEVELS: usize = 16;

/// The mapping that a text holds; `None` where it holds something else.
pub fn parse(text: &str) -> Option<Value> {
    let lines = text.lines().filter_map(|line| {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        let words = words.trim_end();
        (!words.is_empty() && !words.starts_with('#') && words != "---").then_some((indent, words))
    });
    let lines: Vec<(usize, &str)> = lines.collect();
    let mut at = 0;
    let value = mapping(&lines, &mut at, 0, MOST_LEVELS)?;
    (at == lines.len()).then_some(value)
}

fn mapping(lines: &[(usize, &str)], at: &mut usize, indent: usize, levels: usize) -> Option<Value> {
    let mut map = Map::new();
    while let Some(&(depth, line)) = lines.get(*at).filter(|(depth, _)| *depth >= indent) {
        if depth > indent || levels == 0 {
            return None;
        }
        let (name, value) = match line.strip_suffix(':') {
            Some(name) => (name, ""),
            None => line.split_once(": ")?,
        };
        *at += 1;
        let value = match (value, lines.get(*at)) {
            ("", Some((next, _))) if *next > indent => mapping(lines, at, *next, levels - 1)?,
            ("", _) => Value::Null,
            (value, _) => plain(value.trim()),
        };
        let name = name.trim_matches(['"', '\'']);
        map.insert(name.to_owned(), value);
    }
    Some(Value::Object(map))
}

fn plain(text: &str) -> Value {
    match text {
        "null" | "~" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => match text.parse::<f64>().ok().filter(|n| n.is_finite()) {
            Some(number) => Value::from(number),
            None => Value::from(text.trim_matches(['"', '\''])),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_names_and_plain_values() {
        let text = "# a report\na: 1.5\nb:\n  p0.1: 2\n  c:\n    d: null\ne: x y\n";
        let expected = json!({"a": 1.5, "b": {"p0.1": 2.0, "c": {"d": null}}, "e": "x y"});
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("- a\n- b\n"), None);
        assert_eq!(parse("a:\n  b: 1\n c: 2\n"), None);
    }
}
