//! A JSONL file of requests: `{prompt | prompt_ids | input_len, output_len?, arrival?}` a line.

use std::path::Path;

use serde::Deserialize;

use super::{WorkItem, item_seed};
use crate::text::TokenPool;

/// Seconds that no run lasts.
const LATEST_ARRIVAL: f64 = 1e9;

#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error("--dataset {file}: cannot be read ({source}); give a readable file of JSON lines")]
    Io {
        file: String,
        source: std::io::Error,
    },
    #[error("{file}, line {line}: {reason}")]
    Line {
        file: String,
        line: usize,
        reason: String,
    },
    #[error("{file}: holds no requests; give one JSON object a line")]
    Empty { file: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: Option<String>,
    prompt_ids: Option<Vec<u32>>,
    input_len: Option<usize>,
    output_len: Option<usize>,
    arrival: Option<f64>,
}

/// What the lines of a file leave open.
pub struct Defaults<'a> {
    pub output_len: usize,
    pub vocab_size: usize,
    /// Tokens that the model can place: no prompt or output is longer.
    pub max_len: usize,
    /// Ids of synthetic prompts.
    pub pool: &'a TokenPool,
    pub seed: u64,
    /// Turns text into ids; an error says why it cannot.
    pub encode: &'a dyn Fn(&str) -> Result<Vec<u32>, String>,
}

/// Reads every request of `path`. If one line has an arrival, all must, in ascending order.
pub fn read(path: &Path, defaults: &Defaults) -> Result<Vec<WorkItem>, DatasetError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| DatasetError::Io {
        file: file.clone(),
        source,
    })?;
    let mut items: Vec<WorkItem> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let bad = |reason: String| DatasetError::Line {
            file: file.clone(),
            line: number + 1,
            reason,
        };
        let item = parse(line, items.len(), defaults).map_err(bad)?;
        if let Some(last) = items.last() {
            match (last.arrival, item.arrival) {
                (Some(before), Some(now)) if now < before => {
                    return Err(bad(format!(
                        "arrival {now} is before the line above's {before}"
                    )));
                }
                (Some(_), None) | (None, Some(_)) => {
                    return Err(bad("give every line an arrival, or none".to_owned()));
                }
                _ => {}
            }
        }
        items.push(item);
    }
    if items.is_empty() {
        return Err(DatasetError::Empty { file });
    }
    Ok(items)
}

fn parse(line: &str, index: usize, defaults: &Defaults) -> Result<WorkItem, String> {
    let line: Line = serde_json::from_str(line).map_err(not_a_request)?;
    for (key, len) in [
        ("input_len", line.input_len),
        ("output_len", line.output_len),
    ] {
        if let Some(len) = len.filter(|&len| len > defaults.max_len) {
            return Err(format!(
                "{key} is {len}, beyond the {} positions of the model; shorten it",
                defaults.max_len
            ));
        }
    }
    let prompt = match (line.prompt, line.prompt_ids, line.input_len) {
        (Some(text), None, None) => (defaults.encode)(&text)?,
        (None, Some(ids), None) => ids,
        (None, None, Some(len)) => {
            let seed = item_seed(defaults.seed, index);
            defaults.pool.synthetic_prompt(len, seed)
        }
        _ => return Err("give exactly one of prompt, prompt_ids and input_len".to_owned()),
    };
    if prompt.is_empty() {
        return Err("the prompt has no tokens; give at least one".to_owned());
    }
    if let Some(id) = prompt
        .iter()
        .find(|&&id| id as usize >= defaults.vocab_size)
    {
        return Err(format!(
            "token id {id} is outside the vocabulary of {}; use ids below it",
            defaults.vocab_size
        ));
    }
    let output_len = line.output_len.unwrap_or(defaults.output_len);
    if output_len == 0 {
        return Err("output_len is 0; ask for at least one token".to_owned());
    }
    if let Some(arrival) = line.arrival
        && !(0.0..=LATEST_ARRIVAL).contains(&arrival)
    {
        return Err(format!(
            "arrival is {arrival}; it must be seconds from the start, at most {LATEST_ARRIVAL}"
        ));
    }
    Ok(WorkItem {
        prompt: prompt.into(),
        output_len,
        arrival: line.arrival,
    })
}

/// What serde says, without its line: a dataset's line is a document of its own.
fn not_a_request(error: serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!(
        "{what} (column {}); write {{prompt | prompt_ids | input_len, output_len?, arrival?}}",
        error.column()
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read_text(text: &str) -> Result<Vec<WorkItem>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let defaults = Defaults {
            output_len: 7,
            vocab_size: 100,
            max_len: 50,
            pool: &TokenPool::below(50).unwrap(),
            seed: 0,
            encode: &|text| Ok(text.bytes().map(u32::from).collect()),
        };
        read(file.path(), &defaults).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_each_form() {
        let items = read_text(
            "{\"prompt\": \"AB\", \"output_len\": 3}\n\n{\"prompt_ids\": [1, 2, 3]}\n{\"input_len\": 9}\n",
        )
        .unwrap();
        assert_eq!(items[0].prompt.as_ref(), [65, 66]);
        assert_eq!(items[0].output_len, 3);
        assert_eq!(items[1].prompt.as_ref(), [1, 2, 3]);
        assert_eq!(items[1].output_len, 7);
        assert_eq!(items[2].prompt.len(), 9);
        assert!(items[2].prompt.iter().all(|&id| id < 50));
    }

    #[test]
    fn faults_name_the_line_and_the_value() {
        let faults = [
            (
                "{\"input_len\": 1}\n{\"prompt_ids\": [100]}",
                "line 2: token id 100",
            ),
            ("{\"prompt_ids\": []}", "no tokens"),
            ("{}", "exactly one"),
            ("{\"input_len\": 1, \"output_len\": 0}", "output_len is 0"),
            ("{\"input_len\": 1, \"lenght\": 0}", "lenght"),
            (
                "not json",
                "line 1: expected ident (column 2); write {prompt",
            ),
            ("{\"input_len\": 51}", "input_len is 51, beyond the 50"),
            (
                "{\"input_len\": 1, \"output_len\": 51}",
                "output_len is 51, beyond the 50",
            ),
            ("{\"input_len\": 1, \"arrival\": 1e300}", "at most"),
            ("\n", "holds no requests"),
            (
                "{\"input_len\": 1, \"arrival\": 2}\n{\"input_len\": 1, \"arrival\": 1}",
                "before the line above",
            ),
            (
                "{\"input_len\": 1, \"arrival\": 2}\n{\"input_len\": 1}",
                "or none",
            ),
            ("{\"input_len\": 1, \"arrival\": -2}", "arrival is -2"),
        ];
        for (text, expected) in faults {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }
}
