//! Dialogues: what is asked in them, and what was answered.

use serde_json::Value;

use super::keys::named;
use crate::text::Conversation;

/// All questions of such turns that were answered, with their answers; where the first was not, it alone of these.
pub fn turns(name: &str, turns: &[Value]) -> Result<Vec<(String, Option<String>)>, String> {
    let mut asked = Vec::new();
    let mut rest = turns;
    while let Some((question, answer, behind)) = next(name, rest)? {
        rest = behind;
        if answer.is_some() || asked.is_empty() {
            asked.push((question, answer));
        }
    }
    Ok(asked)
}

/// Turns of `from` and `value`. As benchmarks use them: the first question is the prompt as it stands, and its answer
/// says how long one is.
pub fn share_gpt(name: &str, turns: &[Value]) -> Result<Option<(String, Option<String>)>, String> {
    let first = next(name, turns)?;
    Ok(first.map(|(question, answer, _)| (question, answer)))
}

/// A question, its answer, and what is behind it.
type Asked<'a> = (String, Option<String>, &'a [Value]);

/// The next question.
fn next<'a>(name: &str, turns: &'a [Value]) -> Result<Option<Asked<'a>>, String> {
    const ASKING: [&str; 2] = ["human", "user"];
    const ANSWERING: [&str; 6] = ["gpt", "assistant", "chatgpt", "bing", "bard", "model"];
    let text = |turn: &Value, key: &str| turn.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut question = None;
    for (at, turn) in turns.iter().enumerate() {
        let (Some(from), Some(value)) = (text(turn, "from"), text(turn, "value")) else {
            return Err(format!(
                "{name} holds a turn without the texts from and value"
            ));
        };
        match question {
            None if ASKING.contains(&from.as_str()) => question = Some(value),
            Some(question) if ANSWERING.contains(&from.as_str()) => {
                let answer = Some(value).filter(|answer| !answer.is_empty());
                return Ok(Some((question, answer, &turns[at + 1..])));
            }
            _ => {}
        }
    }
    Ok(question.map(|question| (question, None, &turns[turns.len()..])))
}

/// Messages of OpenAI's API; one of the assistant at the end is the answer.
pub fn chat(
    name: &str,
    mut messages: Vec<Value>,
    tools: Value,
    documents: Value,
) -> Result<(Conversation, Option<String>), String> {
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
    Ok((conversation, answer.filter(|answer| !answer.is_empty())))
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
