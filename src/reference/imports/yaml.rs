//! Mappings and lists in YAML, as programs write their reports: nested by indentation, with plain values. Of a value of
//! several lines the first one is kept. Nothing else of YAML is read.

use serde_json::{Map, Value};

/// Deeper is no report.
const MOST_LEVELS: usize = 24;
const ITEM: &str = "- ";

/// The mapping that a text holds; `None` where it holds something else.
pub fn parse(text: &str) -> Option<Value> {
    let lines = text.lines().filter_map(|line| {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        let words = words.trim_end();
        (!words.is_empty() && !words.starts_with('#') && words != "---").then_some((indent, words))
    });
    let lines = lines.collect();
    let mut reader = Reader { lines, at: 0 };
    let value = reader.mapping(0, MOST_LEVELS)?;
    (reader.at == reader.lines.len()).then_some(value)
}

struct Reader<'a> {
    /// How far each is indented, and its words.
    lines: Vec<(usize, &'a str)>,
    at: usize,
}

impl<'a> Reader<'a> {
    fn line(&self) -> Option<(usize, &'a str)> {
        self.lines.get(self.at).copied()
    }

    fn mapping(&mut self, indent: usize, levels: usize) -> Option<Value> {
        let mut map = Map::new();
        while let Some((depth, line)) = self.line().filter(|(depth, _)| *depth >= indent) {
            if depth > indent || levels == 0 {
                return None;
            }
            if line.starts_with(ITEM) {
                break;
            }
            let (name, value) = match line.strip_suffix(':') {
                Some(name) => (name, ""),
                None => line.split_once(": ")?,
            };
            self.at += 1;
            let value = match (value, self.line()) {
                ("", Some((next, line))) if next >= indent && line.starts_with(ITEM) => {
                    self.list(next, levels - 1)?
                }
                ("", Some((next, _))) if next > indent => self.mapping(next, levels - 1)?,
                ("", _) => Value::Null,
                (value, _) => self.plain(value, indent),
            };
            let name = name.trim_matches(['"', '\'']);
            map.insert(name.to_owned(), value);
        }
        Some(Value::Object(map))
    }

    fn list(&mut self, indent: usize, levels: usize) -> Option<Value> {
        let mut list = Vec::new();
        while let Some((depth, line)) = self.line().filter(|(depth, _)| *depth >= indent) {
            let Some(words) = line.strip_prefix(ITEM).filter(|_| depth == indent) else {
                break;
            };
            if levels == 0 {
                return None;
            }
            // What follows the dash is a value at its own indentation.
            let rest = words.trim_start();
            let inner = indent + line.len() - rest.len();
            if let Some(line) = self.lines.get_mut(self.at) {
                *line = (inner, rest);
            }
            let is_mapping = rest.ends_with(':') || rest.contains(": ");
            list.push(match rest.starts_with(ITEM) {
                true => self.list(inner, levels - 1)?,
                false if is_mapping && !rest.starts_with(['"', '\'']) => {
                    self.mapping(inner, levels - 1)?
                }
                false => {
                    self.at += 1;
                    self.plain(rest, indent)
                }
            });
        }
        Some(Value::Array(list))
    }

    /// Lines that are indented further belong to the value.
    fn plain(&mut self, text: &str, indent: usize) -> Value {
        while self.line().is_some_and(|(depth, _)| depth > indent) {
            self.at += 1;
        }
        plain(text.trim())
    }
}

fn plain(text: &str) -> Value {
    match text {
        "null" | "~" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "{}" => Value::Object(Map::new()),
        "[]" => Value::Array(Vec::new()),
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

    #[test]
    fn lists_and_long_values() {
        let text = "a:\n- b: 1\n  c:\n  - 2\n  - x\n  d: {}\n- b: a text\n    that goes on\n  e:\nf:\n  - - 1\n    - 2\n";
        let expected = json!({
            "a": [{"b": 1.0, "c": [2.0, "x"], "d": {}}, {"b": "a text", "e": null}],
            "f": [[1.0, 2.0]],
        });
        assert_eq!(parse(text), Some(expected));
        let deep = "- ".repeat(100);
        assert_eq!(parse(&format!("a:\n{deep}1\n")), None);
    }
}
