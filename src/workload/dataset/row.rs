//! One request as benchmarks write it, known by its keys.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::dialogue::{chat, share_gpt};
use super::keys::{
    ARRIVAL, BODY, HASHES, INPUT_LEN, MESSAGES, OUTPUT_LEN, Object, PROMPT, PROMPT_IDS, TIMESTAMP,
    TIMESTAMP_S, TIMESTAMP_UTC, TURNS, count, find, named, unread,
};
use crate::ground::json::{self, JsonError, Limits};
use crate::ground::terminal::listed;
use crate::text::Conversation;

/// What the values of a record may take in memory: a million token ids do.
const ROW: Limits = Limits {
    bytes: super::records::LONGEST_RECORD as u64,
    memory: 160 << 20,
};

/// What a dataset may hold, for messages.
pub const ACCEPTED: &str = "JSON objects, one a line or all in one array, with prompt (text), prompt_ids, messages or \
conversations, or input_len, and output_len, arrival in seconds or timestamp in milliseconds where they are known; or \
the same as columns of CSV, under names in the first line; or a trace of Azure or BurstGPT";

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Text(String),
    Ids(Vec<u32>),
    /// For the chat template.
    Chat(Conversation),
    /// A prompt of that length, of which blocks that have the same hash are the same.
    Length {
        len: usize,
        hashes: Vec<u64>,
    },
}

/// How many tokens are to come.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Open,
    Tokens(usize),
    /// As many as this text has.
    As(String),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrival {
    /// From the start of the run.
    Seconds(f64),
    /// Of a trace, from any start, in so many ticks a second.
    Ticks { time: f64, per_second: f64 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub ask: Ask,
    pub output: Output,
    pub arrival: Option<Arrival>,
    /// Keys that say nothing about a request.
    pub unread: Vec<String>,
}

impl Row {
    /// Reads a record that begins at `line` of its file. A conversation in which nothing is asked is no request.
    ///
    /// # Errors
    /// What is wrong, and its line.
    pub fn of(text: &[u8], line: usize) -> Result<Option<Self>, (usize, String)> {
        Self::of_value(parsed(text, line)?).map_err(|reason| (line, reason))
    }

    /// As [`Self::of`], of a record that was read.
    ///
    /// # Errors
    /// What is wrong.
    pub fn of_value(value: Value) -> Result<Option<Self>, String> {
        let Value::Object(mut object) = value else {
            return Err(format!("it is {}; give {ACCEPTED}", named(&value)));
        };
        if let Some(Value::Object(body)) = BODY.iter().find_map(|key| object.remove(*key)) {
            object.extend(body);
        }
        own_keys(&object)?;
        let output = match count(&object, &OUTPUT_LEN)? {
            Some(tokens) => Output::Tokens(tokens),
            None => Output::Open,
        };
        let arrival = arrival(&object)?;
        let unread = unread(&object)?;
        let Some((ask, answer)) = ask(&mut object)? else {
            return Ok(None);
        };
        let output = match (output, answer) {
            (Output::Open, Some(answer)) => Output::As(answer),
            (output, _) => output,
        };
        Ok(Some(Self {
            ask,
            output,
            arrival,
            unread,
        }))
    }
}

/// The value of a record that begins at `line` of its file.
///
/// # Errors
/// It is none, and where.
pub fn parsed(text: &[u8], line: usize) -> Result<Value, (usize, String)> {
    match json::parse(text, ROW) {
        Ok(json) => Ok(json.value),
        Err(error) => Err(malformed(text, line, &error)),
    }
}

/// The three ways of our own exclude each other.
fn own_keys(object: &Object) -> Result<(), String> {
    let own = ["prompt", "prompt_ids", "input_len"];
    match own.iter().filter(|key| object.contains_key(**key)).count() {
        0 | 1 => Ok(()),
        _ => Err("give exactly one of prompt, prompt_ids and input_len".to_owned()),
    }
}

/// The prompt, and the answer that the record has to it.
fn ask(object: &mut Object) -> Result<Option<(Ask, Option<String>)>, String> {
    if let Some((name, value)) = find(object, &PROMPT) {
        return prompt(name, value).map(|ask| Some((ask, None)));
    }
    if let Some((name, value)) = find(object, &PROMPT_IDS) {
        let ids = ids(name, value)?;
        return Ok(Some((Ask::Ids(ids), None)));
    }
    if let Some((name, value)) = find(object, &MESSAGES) {
        let Value::Array(turns) = value else {
            return Err(format!(
                "{name} is {}, where a list of turns should be",
                named(value)
            ));
        };
        let speaks = |turn: &Value| turn.get("from").is_some();
        if turns.iter().any(speaks) || turns.is_empty() {
            let asked = share_gpt(name, turns)?;
            return Ok(asked.map(|(question, answer)| (Ask::Text(question), answer)));
        }
        let turns = turns.clone();
        let part = |key: &str| object.get(key).cloned().unwrap_or_default();
        let (conversation, answer) = chat(name, turns, part("tools"), part("documents"))?;
        return Ok(Some((Ask::Chat(conversation), answer)));
    }
    if let Some((name, value)) = find(object, &TURNS) {
        let first = value.get(0).and_then(Value::as_str);
        let first = first.ok_or_else(|| {
            format!("{name} is no list of texts; --turns N plays it as a conversation")
        })?;
        return Ok(Some((Ask::Text(first.to_owned()), None)));
    }
    let Some(len) = count(object, &INPUT_LEN)? else {
        let keys: Vec<&String> = object.keys().collect();
        let keys = match keys.is_empty() {
            true => "no keys".to_owned(),
            false => format!("the keys {}", listed(&keys, ", ")),
        };
        return Err(format!(
            "no prompt is found among {keys}; give exactly one of prompt, prompt_ids, messages, conversations and input_len"
        ));
    };
    let hashes = match find(object, &HASHES) {
        None => Vec::new(),
        Some((name, value)) => {
            let list = value.as_array().into_iter().flatten();
            let hashes: Option<Vec<u64>> = list.map(Value::as_u64).collect();
            hashes.ok_or_else(|| format!("{name} is no list of whole numbers"))?
        }
    };
    Ok(Some((Ask::Length { len, hashes }, None)))
}

fn prompt(name: &str, value: &Value) -> Result<Ask, String> {
    match value {
        Value::String(text) => Ok(Ask::Text(text.clone())),
        Value::Array(list) if list.iter().all(Value::is_number) => ids(name, value).map(Ask::Ids),
        Value::Array(list) => match list.as_slice() {
            [Value::String(text)] => Ok(Ask::Text(text.clone())),
            _ => Err(format!("{name} is a list; give one text a record")),
        },
        other => Err(format!(
            "{name} is {}, where a text should be",
            named(other)
        )),
    }
}

fn ids(name: &str, value: &Value) -> Result<Vec<u32>, String> {
    let Value::Array(list) = value else {
        return Err(format!(
            "{name} is {}, where a list of token ids should be",
            named(value)
        ));
    };
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let wrong = |value: &Value| format!("{name} holds {}, which is no token id", named(value));
    list.iter()
        .map(|value| id(value).ok_or_else(|| wrong(value)))
        .collect()
}

fn arrival(object: &Object) -> Result<Option<Arrival>, String> {
    let number = |(name, value): (&str, &Value), unit: &str| {
        let wrong = || format!("{name} is {}, where {unit} should be", named(value));
        value.as_f64().ok_or_else(wrong)
    };
    if let Some(found) = find(object, &ARRIVAL) {
        return number(found, "seconds").map(|time| Some(Arrival::Seconds(time)));
    }
    for (names, unit, per_second) in [
        (TIMESTAMP, "milliseconds", 1e3),
        (TIMESTAMP_S, "seconds", 1.0),
    ] {
        if let Some(found) = find(object, &names) {
            let time = number(found, unit)?;
            return Ok(Some(Arrival::Ticks { time, per_second }));
        }
    }
    let Some((name, value)) = find(object, &TIMESTAMP_UTC) else {
        return Ok(None);
    };
    let time = value.as_str().and_then(calendar).ok_or_else(|| {
        format!(
            "{name} is {}, where a time such as 2023-11-16 18:17:03.9799600 should be",
            value
                .as_str()
                .map_or_else(|| named(value), |text| format!("{text:.40}"))
        )
    })?;
    let per_second = 1.0;
    Ok(Some(Arrival::Ticks { time, per_second }))
}

/// Seconds from the year 2020: near enough that a fraction of a microsecond is left. UTC where no zone is said.
fn calendar(text: &str) -> Option<f64> {
    const YEAR_2020: i64 = 1_577_836_800;
    let (date, time) = text.split_once([' ', 'T'])?;
    let has_zone = time.contains(['+', '-', 'Z', 'z']);
    let zone = if has_zone { "" } else { "Z" };
    let time = OffsetDateTime::parse(&format!("{date}T{time}{zone}"), &Rfc3339).ok()?;
    let whole = (time.unix_timestamp() - YEAR_2020) as f64;
    Some(whole + f64::from(time.nanosecond()) * 1e-9)
}

/// What is wrong with a record's text; the line within it is one of the file.
fn malformed(text: &[u8], line: usize, error: &JsonError) -> (usize, String) {
    let said = error.to_string();
    let place = said.rsplit_once(" at line ").and_then(|(what, place)| {
        let (inner, column) = place.split_once(" column ")?;
        Some((what, inner.parse::<usize>().ok()?, column.to_owned()))
    });
    let (line, said) = match place {
        Some((what, inner, column)) => {
            let what = format!("it is no JSON object ({what}, column {column})");
            (line + inner.saturating_sub(1), what)
        }
        None => (line, format!("it is no JSON object ({said})")),
    };
    (line, format!("{said}; {}", hint(text)))
}

/// What the text may be instead.
fn hint(text: &[u8]) -> String {
    let start = &text[..text.len().min(4096)];
    if start.starts_with(b"PAR1") {
        return "it is a Parquet file: write it as JSON lines".to_owned();
    }
    if start.trim_ascii() == b"{" {
        return "an object over several lines stands in one array: put brackets around".to_owned();
    }
    format!("give {ACCEPTED}")
}
