//! The part of `tokenizer_config.json` that matters here, as transformers reads it.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::{TextError, invalid, object_if_there};

pub(super) const FILE: &str = "tokenizer_config.json";
/// Where older checkpoints keep the special tokens.
const TOKENS_FILE: &str = "special_tokens_map.json";

/// The special tokens that each tokenizer may have; templates see them under these names.
const SPECIAL_TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// More of them: a list, or an object that names each.
const MORE_TOKENS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

#[derive(Debug, Clone, Default)]
pub(super) struct TokenizerConfig {
    pub add_bos_token: bool,
    pub tokens: SpecialTokens,
    /// Name and text of each template; a single one is named `default`.
    pub chat_templates: Vec<(String, String)>,
}

/// What a template may name: a text for each token, and lists of texts.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecialTokens(pub Map<String, Value>);

impl TokenizerConfig {
    /// # Errors
    /// A file is malformed.
    pub fn load(dir: &Path) -> Result<Self, TextError> {
        let path = dir.join(FILE);
        let config = object_if_there(&path)?.unwrap_or_default();
        let mut tokens = SpecialTokens::default();
        tokens.take(&config);
        if let Some(older) = object_if_there(&dir.join(TOKENS_FILE))? {
            tokens.take(&older);
        }
        Ok(Self {
            add_bos_token: config.get("add_bos_token") == Some(&Value::Bool(true)),
            tokens,
            chat_templates: templates(config.get("chat_template"))
                .map_err(|reason| invalid(&path, reason))?,
        })
    }
}

impl SpecialTokens {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Those of `config` that are not known yet.
    fn take(&mut self, config: &Map<String, Value>) {
        for name in SPECIAL_TOKENS {
            if let Some(text) = config.get(name).and_then(text_of) {
                self.add(name, text.into());
            }
        }
        for name in MORE_TOKENS {
            match config.get(name) {
                Some(Value::Array(tokens)) => {
                    self.add(name, tokens.iter().filter_map(text_of).collect());
                }
                Some(Value::Object(named)) => {
                    for (name, token) in named {
                        if let Some(text) = text_of(token) {
                            self.add(name, text.into());
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn add(&mut self, name: &str, value: Value) {
        self.0.entry(name).or_insert(value);
    }
}

/// A token is a text, in older files an object, in some a list of which the first counts.
fn text_of(token: &Value) -> Option<&str> {
    match token {
        Value::String(text) => Some(text),
        Value::Object(object) => object.get("content").and_then(Value::as_str),
        Value::Array(tokens) => tokens
            .first()
            .filter(|token| !token.is_array())
            .and_then(text_of),
        _ => None,
    }
}

/// One template, a list of named ones, or an object of them.
pub(super) fn templates(value: Option<&Value>) -> Result<Vec<(String, String)>, String> {
    let named = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![named("default", text)]),
        Some(Value::Array(list)) => {
            let text =
                |entry: &Value, key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let one = |entry| Some((text(entry, "name")?, text(entry, "template")?));
            let all = list.iter().map(one).collect::<Option<_>>();
            all.ok_or_else(|| "chat_template is a list, but not of names and templates".to_owned())
        }
        Some(Value::Object(object)) => {
            let one = |(name, text): (&String, &Value)| Some(named(name, text.as_str()?));
            let all = object.iter().map(one).collect::<Option<_>>();
            all.ok_or_else(|| "chat_template is an object, but not of templates".to_owned())
        }
        Some(_) => Err("chat_template is no text, list or object".to_owned()),
    }
}
