//! The model's chat template: messages in, prompt text out.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use minijinja_contrib::pycompat;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::parse_strftime_borrowed;

use super::error::{TextError, parse_if_there, read_if_there};
use super::json_filter::tojson;
use super::tokenizer_config::{self, NamedTemplate, SpecialToken, Templates, TokenizerConfig};

const TEMPLATE_FILE: &str = "chat_template.jinja";
const DEFAULT_TEMPLATE: &str = "default";

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

/// A Jinja template in the dialect that Hugging Face renders, and the tokens it may name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    /// For messages.
    file: String,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

impl ChatTemplate {
    /// The template of `chat_template.jinja`, else of `tokenizer_config.json` (one template, or the one named
    /// `default` of a list); `None` if the model has none.
    ///
    /// # Errors
    /// A file is malformed, or a list has no default.
    pub fn load(dir: &Path) -> Result<Option<Self>, TextError> {
        let config_path = dir.join(tokenizer_config::FILE);
        let config: TokenizerConfig = parse_if_there(&config_path)?.unwrap_or_default();
        let template_path = dir.join(TEMPLATE_FILE);
        let (source, path) = match (read_if_there(&template_path)?, config.chat_template) {
            (Some(source), _) => (source, template_path),
            (None, Some(templates)) => (default_of(templates, &config_path)?, config_path),
            (None, None) => return Ok(None),
        };
        Ok(Some(Self {
            source,
            file: path.display().to_string(),
            bos_token: config.bos_token.map(SpecialToken::into_text),
            eos_token: config.eos_token.map(SpecialToken::into_text),
        }))
    }

    /// A template given as text; `file` names it in errors.
    pub fn new(source: impl Into<String>, file: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            file: file.into(),
            bos_token: None,
            eos_token: None,
        }
    }

    /// Sets what `bos_token` and `eos_token` stand for in the template.
    pub fn with_tokens(mut self, bos: Option<&str>, eos: Option<&str>) -> Self {
        self.bos_token = bos.map(str::to_owned);
        self.eos_token = eos.map(str::to_owned);
        self
    }

    /// The prompt text; `add_generation_prompt` opens the assistant's turn. Encode it without adding special tokens.
    ///
    /// # Errors
    /// The template is malformed, fails, or refuses the conversation (`raise_exception`); with file and line.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        self.render_at(messages, add_generation_prompt, OffsetDateTime::now_utc())
    }

    /// As [`render`](Self::render), with the date that the template's `strftime_now` sees.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_at(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        now: OffsetDateTime,
    ) -> Result<String, TextError> {
        self.evaluate(messages, add_generation_prompt, now)
            .map_err(|error| self.failure(&error))
    }

    fn evaluate(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        now: OffsetDateTime,
    ) -> Result<String, Error> {
        let mut environment = environment()?;
        environment.add_function("strftime_now", move |format: &str| strftime(now, format));
        environment
            .template_from_named_str(&self.file, &self.source)?
            .render(context! {
                messages => Serde(messages),
                add_generation_prompt,
                bos_token => or_undefined(self.bos_token.as_deref()),
                eos_token => or_undefined(self.eos_token.as_deref()),
            })
    }

    fn failure(&self, error: &Error) -> TextError {
        let reason = match error.detail() {
            Some(detail) => detail.to_owned(),
            None => error.kind().to_string(),
        };
        TextError::Template {
            file: self.file.clone(),
            line: error.line().unwrap_or(1),
            reason,
        }
    }
}

fn default_of(templates: Templates, path: &Path) -> Result<String, TextError> {
    let named = match templates {
        Templates::One(template) => return Ok(template),
        Templates::Named(named) => named,
    };
    let is_default = |template: &&NamedTemplate| template.name == DEFAULT_TEMPLATE;
    match named.iter().find(is_default) {
        Some(found) => Ok(found.template.clone()),
        None => Err(TextError::NoDefaultTemplate {
            file: path.display().to_string(),
            names: named
                .into_iter()
                .map(|template| template.name)
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// Jinja as Hugging Face sets it up: block tags leave no blank lines, values keep Python's methods.
fn environment<'s>() -> Result<Environment<'s>, Error> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build()?);
    // Escaping would be chosen by the file's name, and a template may lie in a .json file.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(pycompat::unknown_method_callback);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", raise_exception);
    Ok(environment)
}

/// An absent token is undefined in the template, not the text "none".
fn or_undefined(token: Option<&str>) -> Value {
    token.map_or(Value::UNDEFINED, Value::from)
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime(now: OffsetDateTime, format: &str) -> Result<String, Error> {
    let invalid = |reason: String| {
        let detail = format!("strftime_now(\"{format}\"): {reason}");
        Error::new(ErrorKind::InvalidOperation, detail)
    };
    let items = parse_strftime_borrowed(format).map_err(|error| invalid(error.to_string()))?;
    now.format(&items)
        .map_err(|error| invalid(error.to_string()))
}
