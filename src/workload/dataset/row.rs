//! One request as benchmarks write it, known by its keys.

use serde_json::{Map, Value};

use crate::ground::json::{self, JsonError, Limits};
use crate::ground::terminal::listed;
use crate::text::Conversation;

/// What the values of a record may take in memory: a million token ids do.
const ROW: Limits = Limits {
    bytes: super::records::LONGEST_RECORD as u64,
    memory: 160 << 20,
};

/// Text, or ids where it is a list of them.
const PROMPT: [&str; 4] = ["prompt", "text_input", "text", "question"];
const PROMPT_IDS: [&str; 3] = ["prompt_ids", "prompt_token_ids", "input_ids"];
const MESSAGES: [&str; 3] = ["messages", "conversations", "conversation"];
/// Questions of a dialogue, the first of which is asked.
const TURNS: [&str; 1] = ["turns"];
const INPUT_LEN: [&str; 6] = [
    "input_len",
    "input_length",
    "prompt_len",
    "prompt_tokens",
    "prompt_tokens_count",
    "input_tokens",
];
const OUTPUT_LEN: [&str; 8] = [
    "output_len",
    "output_length",
    "output_tokens",
    "output_tokens_count",
    "completion_tokens",
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
];
/// Seconds.
const ARRIVAL: [&str; 1] = ["arrival"];
/// Milliseconds.
const TIMESTAMP: [&str; 1] = ["timestamp"];
const HASHES: [&str; 1] = ["hash_ids"];
/// Where a request to OpenAI's API lies inside its record.
const BODY: [&str; 1] = ["body"];
/// What goes with messages.
const TOOLS: [&str; 2] = ["tools", "documents"];

const KNOWN: [&[&str]; 11] = [
    &PROMPT,
    &PROMPT_IDS,
    &MESSAGES,
    &TURNS,
    &INPUT_LEN,
    &OUTPUT_LEN,
    &ARRIVAL,
    &TIMESTAMP,
    &HASHES,
    &BODY,
    &TOOLS,
];

/// What a dataset may hold, for messages.
pub const ACCEPTED: &str = "JSON objects, one a line or all in one array, with prompt (text), prompt_ids, messages or \
conversations, or input_len, and output_len, arrival in seconds or timestamp in milliseconds where they are known";

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
    /// From any start.
    Milliseconds(f64),
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
        match json::parse(text, ROW) {
            Ok(json) => Self::of_value(json.value).map_err(|reason| (line, reason)),
            Err(error) => Err(malformed(text, line, &error)),
        }
    }

    fn of_value(value: Value) -> Result<Option<Self>, String> {
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

type Object = Map<String, Value>;

/// Of several names, the value of the first that is there and not null.
fn find<'a>(object: &'a Object, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
    let values = names.iter().map(|&name| (name, object.get(name)));
    values
        .filter_map(|(name, value)| Some((name, value?)))
        .find(|(_, value)| !value.is_null())
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
            return share_gpt(name, turns);
        }
        let turns = turns.clone();
        let part = |key: &str| object.get(key).cloned().unwrap_or_default();
        return chat(name, turns, part("tools"), part("documents")).map(Some);
    }
    if let Some((name, value)) = find(object, &TURNS) {
        let first = value.get(0).and_then(Value::as_str);
        let first = first.ok_or_else(|| format!("{name} is no list of texts"))?;
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

/// Turns of `from` and `value`. As benchmarks use them: the first question is the prompt as it stands, and its answer
/// says how long one is.
fn share_gpt(name: &str, turns: &[Value]) -> Result<Option<(Ask, Option<String>)>, String> {
    const ASKING: [&str; 2] = ["human", "user"];
    const ANSWERING: [&str; 6] = ["gpt", "assistant", "chatgpt", "bing", "bard", "model"];
    let text = |turn: &Value, key: &str| turn.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut question = None;
    for turn in turns {
        let (Some(from), Some(value)) = (text(turn, "from"), text(turn, "value")) else {
            return Err(format!(
                "{name} holds a turn without the texts from and value"
            ));
        };
        match question {
            None if ASKING.contains(&from.as_str()) => question = Some(value),
            Some(question) if ANSWERING.contains(&from.as_str()) => {
                let answer = Some(value).filter(|answer| !answer.is_empty());
                return Ok(Some((Ask::Text(question), answer)));
            }
            _ => {}
        }
    }
    Ok(question.map(|question| (Ask::Text(question), None)))
}

/// Messages of OpenAI's API; one of the assistant at the end is the answer.
fn chat(
    name: &str,
    mut messages: Vec<Value>,
    tools: Value,
    documents: Value,
) -> Result<(Ask, Option<String>), String> {
    for message in &mut messages {
        let Some(role) = message.get("role").and_then(Value::as_str) else {
            return Err(format!("{name} holds a message without a role"));
        };
        let role = role.to_owned();
        let content = plain(message.get("content").unwrap_or(&Value::Null), &role)?;
        if let Value::Object(message) = message {
            message.insert("content".to_owned(), content);
        }
    }
    let is_answer =
        |message: &Value| message.get("role").and_then(Value::as_str) == Some("assistant");
    let answer = match messages.pop_if(|last| is_answer(last)) {
        Some(last) => last
            .get("content")
            .and_then(Value::as_str)
            .map(str::to_owned),
        None => None,
    };
    if messages.is_empty() {
        return Err(format!("{name} holds no message that asks"));
    }
    let conversation = Conversation {
        messages,
        tools,
        documents,
    };
    Ok((
        Ask::Chat(conversation),
        answer.filter(|answer| !answer.is_empty()),
    ))
}

/// The text of a message, whose parts may be given one by one.
fn plain(content: &Value, role: &str) -> Result<Value, String> {
    let Value::Array(parts) = content else {
        return match content {
            Value::String(_) | Value::Null => Ok(content.clone()),
            other => Err(format!(
                "a message of {role:.40} has {} as its content",
                named(other)
            )),
        };
    };
    let text = |part: &Value| match part.get("type").and_then(Value::as_str) {
        Some("text") | None => part
            .get("text")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| "?".to_owned()),
        Some(kind) => Err(kind.to_owned()),
    };
    let texts: Result<Vec<String>, String> = parts.iter().map(text).collect();
    texts.map(|texts| texts.concat().into()).map_err(|kind| {
        format!("a message of {role:.40} has a part of type {kind:.40}, and only text is run")
    })
}

/// A whole number under the first of the names that is there.
fn count(object: &Object, names: &[&'static str]) -> Result<Option<usize>, String> {
    let Some((name, value)) = find(object, names) else {
        return Ok(None);
    };
    let whole = value
        .as_f64()
        .filter(|number| *number >= 0.0 && number.fract() == 0.0);
    let number = value.as_u64().or(whole.map(|number| number as u64));
    match number.and_then(|number| usize::try_from(number).ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(format!(
            "{name} is {}, where a number of tokens should be",
            named(value)
        )),
    }
}

fn arrival(object: &Object) -> Result<Option<Arrival>, String> {
    let number = |(name, value): (&str, &Value), unit: &str| {
        let wrong = || format!("{name} is {}, where {unit} should be", named(value));
        value.as_f64().ok_or_else(wrong)
    };
    if let Some(found) = find(object, &ARRIVAL) {
        return number(found, "seconds").map(|time| Some(Arrival::Seconds(time)));
    }
    match find(object, &TIMESTAMP) {
        Some(found) => number(found, "milliseconds").map(|time| Some(Arrival::Milliseconds(time))),
        None => Ok(None),
    }
}

/// Keys that are not known; one that is nearly a number's stands for it by mistake.
fn unread(object: &Object) -> Result<Vec<String>, String> {
    let known = |key: &str| KNOWN.into_iter().flatten().any(|name| *name == key);
    let numbers = || [&INPUT_LEN[..], &OUTPUT_LEN, &ARRIVAL, &TIMESTAMP].concat();
    let mut unread = Vec::new();
    for key in object.keys().filter(|key| !known(key)) {
        let near = |name: &&str| strsim::damerau_levenshtein(name, key) <= 2;
        let meant = numbers()
            .into_iter()
            .find(|name| key.len() < 40 && near(name));
        if let Some(name) = meant.filter(|name| !object.contains_key(*name)) {
            return Err(format!("the key {key} is not known; is {name} meant?"));
        }
        unread.push(key.chars().take(40).collect());
    }
    Ok(unread)
}

/// A value in words.
fn named(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(is) => is.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
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
    let commas = start.iter().filter(|&&byte| byte == b',').count();
    if start.starts_with(b"PAR1") {
        return "it is a Parquet file: write it as JSON lines".to_owned();
    }
    if start.trim_ascii() == b"{" {
        return "an object over several lines stands in one array: put brackets around".to_owned();
    }
    if !start.starts_with(b"{") && commas > 0 && !start.contains(&b'{') {
        return format!("it looks like CSV: write it as {ACCEPTED}");
    }
    format!("give {ACCEPTED}")
}
