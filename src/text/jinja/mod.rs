//! Jinja as transformers sets it up, for templates that nobody has vouched for: whatever one does ends in a moment and
//! in bounded memory.

mod filters;
mod guard;
mod methods;
mod source;
mod strings;
mod tojson;
mod values;

use minijinja::machinery::{eval, make_string_output};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use minijinja_contrib::{filters as more, globals};
use time::OffsetDateTime;
use time::format_description::parse_strftime_borrowed;

use crate::ground::terminal::printable;

/// One unit pays for a step, or for 64 bytes that are made. A prompt of a megabyte in a public template takes a tenth.
const FUEL: u64 = 1_500_000;
/// Bytes of a rendered prompt: four million tokens.
const MOST_OUTPUT: usize = 16 << 20;

/// Characters of it.
const LONGEST_REASON: usize = 500;

/// Why a template gave no text.
pub struct Failure {
    pub line: usize,
    pub reason: String,
}

/// The text of the template `source`; `file` names it for the engine, `now` is what `strftime_now` sees.
pub fn render(
    source: &str,
    file: &str,
    context: Value,
    now: OffsetDateTime,
) -> Result<String, Failure> {
    let text = evaluate(source, file, context, now).map_err(|error| Failure {
        line: error.line().unwrap_or(1),
        reason: reason(&error),
    })?;
    match text.len() > MOST_OUTPUT {
        true => Err(Failure {
            line: 1,
            reason: format!(
                "its text has {} bytes, where {MOST_OUTPUT} are the most",
                text.len()
            ),
        }),
        false => Ok(text),
    }
}

fn evaluate(
    source: &str,
    file: &str,
    context: Value,
    now: OffsetDateTime,
) -> Result<String, Error> {
    let mut environment = environment();
    environment.add_function("strftime_now", move |format: &str| strftime(now, format));
    let prepared = source::prepare(source)?;
    // Python's Jinja drops one line break at the end, as the engine does.
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    let program = guard::compile(&prepared, file, syntax.build()?)?;
    let mut text = String::new();
    let mut out = make_string_output(&mut text);
    eval(
        &environment,
        &program.main,
        context,
        &program.blocks,
        &mut out,
        AutoEscape::None,
    )?;
    drop(out);
    Ok(text)
}

fn environment<'s>() -> Environment<'s> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(methods::call);
    environment.add_filter(guard::HOLD, filters::held);
    environment.add_filter(guard::HOLD_WITHIN, filters::held_within);
    environment.add_filter(guard::REMAINDER, filters::remainder);
    environment.add_filter("center", filters::center);
    environment.add_filter("filesizeformat", more::filesizeformat);
    environment.add_filter("indent", filters::indent);
    environment.add_filter("striptags", more::striptags);
    environment.add_filter("tojson", tojson::tojson);
    environment.add_filter("truncate", filters::truncate);
    environment.add_filter("wordcount", filters::wordcount);
    environment.add_function("cycler", filters::cycler);
    environment.add_function("dict", filters::dict);
    environment.add_function("joiner", globals::joiner);
    environment.add_function("namespace", filters::namespace);
    environment.add_function("raise_exception", raise_exception);
    environment.add_test("callable", filters::is_callable);
    // Escaping goes by the file's name, and a template may lie in a .json file.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // It writes out all that the engine knows; Jinja has it as an extension only.
    environment.remove_global("debug");
    environment
}

fn reason(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return format!(
            "it does not end within {FUEL} steps, or makes more than {} MB: a loop without end, or a text that keeps growing",
            FUEL * 64 / 1_000_000
        );
    }
    // A template words its own refusals.
    match error.detail() {
        Some(detail) => printable(detail).chars().take(LONGEST_REASON).collect(),
        None => error.kind().to_string(),
    }
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
