//! The part of `tokenizer_config.json` that matters here.

use serde::Deserialize;

pub(super) const FILE: &str = "tokenizer_config.json";

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct TokenizerConfig {
    pub add_bos_token: Option<bool>,
    pub bos_token: Option<SpecialToken>,
    pub eos_token: Option<SpecialToken>,
    pub chat_template: Option<Templates>,
}

/// Older files write a special token as an object.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum SpecialToken {
    Text(String),
    Object { content: String },
}

impl SpecialToken {
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct NamedTemplate {
    pub name: String,
    pub template: String,
}
