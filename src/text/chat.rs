//! The model's chat template: messages in, prompt text out.

use std::path::Path;

use minijinja::value::Serde;
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::error::{TextError, invalid, object_if_there, text_if_there};
use super::jinja;
use super::tokenizer_config::{self, SpecialTokens, TokenizerConfig, templates};

const TEMPLATE_FILE: &str = "chat_template.jinja";
/// More templates, each named by its file.
const MORE_TEMPLATES: &str = "additional_chat_templates";
/// Where processors of images and text keep theirs.
const PROCESSOR_FILE: &str = "chat_template.json";
const DEFAULT_TEMPLATE: &str = "default";
/// The one for a conversation with tools, where a model has several.
const TOOL_TEMPLATE: &str = "tool_use";
/// Bytes of a template's file.
const LARGEST_FILE: u64 = 1 << 20;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`; a template may know more.
    pub role: String,
    pub content: String,
}

impl Message {
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// What a template is given: messages in the form of OpenAI's API, whose further keys a template may know.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    pub messages: Vec<Value>,
    /// JSON schemas of functions, or null.
    pub tools: Value,
    /// Or null.
    pub documents: Value,
}

impl From<&[Message]> for Conversation {
    fn from(messages: &[Message]) -> Self {
        let message = |m: &Message| json!({"role": m.role, "content": m.content});
        Self {
            messages: messages.iter().map(message).collect(),
            ..Self::default()
        }
    }
}

/// A Jinja template in the dialect that Hugging Face renders, and the tokens it may name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    /// For conversations with tools, where it is another.
    with_tools: Option<String>,
    /// For messages.
    file: String,
    tokens: SpecialTokens,
}

impl ChatTemplate {
    /// The template of `chat_template.jinja`, else of `tokenizer_config.json`, else of `chat_template.json`: a single
    /// one, or the one named `default`; `None` if the model has none.
    ///
    /// # Errors
    /// A file is malformed, or several templates have no default.
    pub fn load(dir: &Path) -> Result<Option<Self>, TextError> {
        let config = TokenizerConfig::load(dir)?;
        let mut path = dir.join(TEMPLATE_FILE);
        let mut found = in_files(dir)?;
        if found.is_empty() {
            path = dir.join(tokenizer_config::FILE);
            found = config.chat_templates;
        }
        if found.is_empty() {
            path = dir.join(PROCESSOR_FILE);
            let object = object_if_there(&path)?.unwrap_or_default();
            found =
                templates(object.get("chat_template")).map_err(|reason| invalid(&path, reason))?;
        }
        if found.is_empty() {
            return Ok(None);
        }
        let file = path.display().to_string();
        let named = |wanted: &str| {
            let mut all = found.iter();
            all.find(|(name, _)| name == wanted)
                .map(|(_, text)| text.clone())
        };
        let Some(source) = named(DEFAULT_TEMPLATE) else {
            let names: Vec<_> = found.iter().map(|(name, _)| name).collect();
            let names = crate::ground::terminal::listed(&names, ", ");
            return Err(TextError::NoDefaultTemplate { file, names });
        };
        Ok(Some(Self {
            source,
            with_tools: named(TOOL_TEMPLATE),
            file,
            tokens: config.tokens,
        }))
    }

    /// A template given as text; `file` names it in errors.
    pub fn new(source: impl Into<String>, file: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            with_tools: None,
            file: file.into(),
            tokens: SpecialTokens::default(),
        }
    }

    /// Sets what `bos_token` and `eos_token` stand for in the template.
    pub fn with_tokens(mut self, bos: Option<&str>, eos: Option<&str>) -> Self {
        for (name, token) in [("bos_token", bos), ("eos_token", eos)] {
            self.tokens.0.shift_remove(name);
            if let Some(token) = token {
                self.tokens.0.insert(name.to_owned(), token.into());
            }
        }
        self
    }

    /// The prompt text; `add_generation_prompt` opens the assistant's turn. Encode it without adding special tokens.
    ///
    /// # Errors
    /// The template is malformed, fails, does not end in bounds, or refuses the conversation (`raise_exception`); with
    /// file and line.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        let now = OffsetDateTime::now_utc();
        self.render_at(&messages.into(), add_generation_prompt, now)
    }

    /// As [`render`](Self::render), of any conversation, and with the date that the template's `strftime_now` sees.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_at(
        &self,
        conversation: &Conversation,
        add_generation_prompt: bool,
        now: OffsetDateTime,
    ) -> Result<String, TextError> {
        let tools = conversation
            .tools
            .as_array()
            .is_some_and(|tools| !tools.is_empty());
        let source = self
            .with_tools
            .as_ref()
            .filter(|_| tools)
            .unwrap_or(&self.source);
        // A token that the model lacks is undefined in the template, tools and documents that are not there are none.
        let mut context: Map<String, Value> = self.tokens.0.clone();
        context.insert("messages".to_owned(), conversation.messages.clone().into());
        context.insert("tools".to_owned(), conversation.tools.clone());
        context.insert("documents".to_owned(), conversation.documents.clone());
        context.insert(
            "add_generation_prompt".to_owned(),
            add_generation_prompt.into(),
        );
        let context = minijinja::Value::from(Serde(&context));
        jinja::render(source, &self.file, context, now).map_err(|failure| TextError::Template {
            file: self.file.clone(),
            line: failure.line,
            reason: failure.reason,
        })
    }
}

/// Name and text of the templates that have files of their own.
fn in_files(dir: &Path) -> Result<Vec<(String, String)>, TextError> {
    let mut found = Vec::new();
    if let Some(text) = text_if_there(&dir.join(TEMPLATE_FILE), LARGEST_FILE)? {
        found.push((DEFAULT_TEMPLATE.to_owned(), text));
    }
    let Ok(more) = std::fs::read_dir(dir.join(MORE_TEMPLATES)) else {
        return Ok(found);
    };
    let mut paths: Vec<_> = more.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "jinja"));
    paths.sort();
    for path in paths {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(text) = text_if_there(&path, LARGEST_FILE)? {
            found.push((name, text));
        }
    }
    Ok(found)
}
