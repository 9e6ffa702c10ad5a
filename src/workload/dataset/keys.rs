//! The names that benchmarks give to the same things.

use serde_json::{Map, Value};

/// Text, or ids where it is a list of them.
pub const PROMPT: [&str; 4] = ["prompt", "text_input", "text", "question"];
pub const PROMPT_IDS: [&str; 3] = ["prompt_ids", "prompt_token_ids", "input_ids"];
pub const MESSAGES: [&str; 3] = ["messages", "conversations", "conversation"];
/// Questions of a dialogue, the first of which is asked.
pub const TURNS: [&str; 1] = ["turns"];
pub const INPUT_LEN: [&str; 8] = [
    "input_len",
    "input_length",
    "prompt_len",
    "prompt_tokens",
    "prompt_tokens_count",
    "input_tokens",
    AZURE_INPUT,
    BURST_GPT_INPUT,
];
pub const OUTPUT_LEN: [&str; 10] = [
    "output_len",
    "output_length",
    "output_tokens",
    "output_tokens_count",
    "completion_tokens",
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    AZURE_OUTPUT,
    BURST_GPT_OUTPUT,
];
/// Columns of Azure's traces.
const AZURE_INPUT: &str = "ContextTokens";
const AZURE_OUTPUT: &str = "GeneratedTokens";
/// Columns of BurstGPT.
const BURST_GPT_INPUT: &str = "Request tokens";
const BURST_GPT_OUTPUT: &str = "Response tokens";
/// Seconds.
pub const ARRIVAL: [&str; 1] = ["arrival"];
/// Milliseconds from any start, as Mooncake has them.
pub const TIMESTAMP: [&str; 1] = ["timestamp"];
/// Seconds from any start, as BurstGPT has them.
pub const TIMESTAMP_S: [&str; 1] = ["Timestamp"];
/// Calendar times, as Azure has them.
pub const TIMESTAMP_UTC: [&str; 1] = ["TIMESTAMP"];
pub const HASHES: [&str; 1] = ["hash_ids"];
/// Where a request to OpenAI's API lies inside its record.
pub const BODY: [&str; 1] = ["body"];
/// What goes with messages.
pub const TOOLS: [&str; 2] = ["tools", "documents"];

/// What is a text even where it reads as a number.
pub const TEXTS: [&[&str]; 1] = [&PROMPT];

const KNOWN: [&[&str]; 13] = [
    &PROMPT,
    &PROMPT_IDS,
    &MESSAGES,
    &TURNS,
    &INPUT_LEN,
    &OUTPUT_LEN,
    &ARRIVAL,
    &TIMESTAMP,
    &TIMESTAMP_S,
    &TIMESTAMP_UTC,
    &HASHES,
    &BODY,
    &TOOLS,
];

pub type Object = Map<String, Value>;

/// Of several names, the value of the first that is there and not null.
pub fn find<'a>(object: &'a Object, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
    let values = names.iter().map(|&name| (name, object.get(name)));
    values
        .filter_map(|(name, value)| Some((name, value?)))
        .find(|(_, value)| !value.is_null())
}

/// A whole number under the first of the names that is there.
pub fn count(object: &Object, names: &[&'static str]) -> Result<Option<usize>, String> {
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

/// Keys that are not known; one that is nearly a number's stands for it by mistake.
pub fn unread(object: &Object) -> Result<Vec<String>, String> {
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
pub fn named(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(is) => is.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
