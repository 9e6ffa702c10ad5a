//! stdout carries results, stderr everything else. A closed pipe is not an error.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::exit;

use console::Term;
use rustix::fs::OFlags;

use super::failure::Failure;
use crate::ground::terminal::printable;
use crate::report::layout::{chars, wrapped};

/// Columns of a page that is not on a terminal.
const PIPE_WIDTH: usize = 100;
/// Fewer hold no sentence.
const NARROWEST: usize = 20;
/// Characters of a sentence: of a longer one, with somebody's names in it, both ends are shown.
const MOST_SAID: usize = 4000;
const LAST_SAID: usize = 1000;

/// Writes results to stdout and flushes. Where that cannot be, stderr has them: they may have taken hours.
pub fn result(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    if is_closed(&stdout) {
        aside(text.trim_end());
        return Ok(());
    }
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(()),
        // The reader has seen enough (`| head`): nobody is left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit(0),
        Err(error) => {
            aside(text.trim_end());
            Err(Failure::run(anyhow::anyhow!(
                "stdout cannot be written: {error}; the result stands above"
            )))
        }
    }
}

/// Whether nothing can be written there, of which Rust says nothing. Where it was closed (`>&-`) at the start, the null
/// device was opened in its place, for reading too. No shell does that, but some programs do that start others and want
/// no output; so it is no error.
fn is_closed(stdout: &impl AsFd) -> bool {
    let mode = rustix::fs::fcntl_getfl(stdout).map(|flags| flags & OFlags::ACCMODE);
    let own = rustix::fs::fstat(stdout).map(|stat| stat.st_rdev);
    let null = rustix::fs::stat("/dev/null").map(|stat| stat.st_rdev);
    match mode {
        Ok(OFlags::WRONLY) => false,
        Ok(OFlags::RDWR) => own.is_ok() && own == null,
        _ => true,
    }
}

pub fn line(text: &str) -> Result<(), Failure> {
    result(&format!("{text}\n"))
}

pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::run)?;
    line(&text)
}

/// A sentence on stderr; stderr that is gone is nobody's loss. Names in files do not drive the terminal.
pub fn note(text: &str) {
    let text = shortened(text);
    let text = printable(&text);
    match columns(&io::stderr(), &Term::stderr()) {
        None => aside(&text),
        Some(width) => aside(wrapped_lines(&text, width).trim_end()),
    }
}

pub fn error(failure: &Failure) {
    note(&format!("error: {failure}"));
}

/// What the parser says to a command line that it does not take, and its help.
pub fn usage(error: &clap::Error) {
    let plain = error.render().to_string();
    let width = columns(&io::stderr(), &Term::stderr()).filter(|_| error.use_stderr());
    let is_wide = width.is_some_and(|width| plain.lines().any(|line| chars(line) > width));
    match is_wide || (error.use_stderr() && printable(&plain) != plain) {
        true => note(plain.trim_end()),
        // In its own colours.
        false => drop(error.print()),
    }
}

/// Columns of what stdout shows: those of its terminal, else what COLUMNS says, else those of a page.
pub fn width() -> usize {
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = columns(&io::stdout(), &Term::stdout()).or_else(said);
    width.map_or(PIPE_WIDTH, |width| width.max(NARROWEST))
}

/// Text as it is, on stderr.
fn aside(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// Of the terminal behind a stream; `None` where there is none, or it does not tell.
fn columns(stream: &impl IsTerminal, terminal: &Term) -> Option<usize> {
    let size = stream.is_terminal().then(|| terminal.size_checked())?;
    size.map(|(_, columns)| usize::from(columns))
}

/// Each line broken at spaces, its further lines as far in as it.
fn wrapped_lines(text: &str, width: usize) -> String {
    let line = |line: &str| {
        let words = line.trim_start();
        let indent = chars(line) - chars(words);
        wrapped(words, indent, indent, width)
    };
    text.lines().map(line).collect()
}

fn shortened(text: &str) -> Cow<'_, str> {
    let length = chars(text);
    if length <= MOST_SAID {
        return Cow::Borrowed(text);
    }
    let at = |index| {
        text.char_indices()
            .nth(index)
            .map_or(text.len(), |(at, _)| at)
    };
    let (first, last) = (MOST_SAID - LAST_SAID, length - LAST_SAID);
    Cow::Owned(format!(
        "{} … ({} characters more) … {}",
        &text[..at(first)],
        last - first,
        &text[at(last)..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_of_any_length_keeps_both_ends() {
        assert_eq!(shortened("short"), "short");
        let long = format!("error: {}: the way out", "é".repeat(1 << 20));
        let said = shortened(&long);
        assert!(
            said.starts_with("error: é") && said.ends_with("é: the way out"),
            "{said}"
        );
        assert!(said.contains("characters more") && chars(&said) < MOST_SAID + 50);
    }

    #[test]
    fn lines_keep_their_place() {
        let text = "error: one two three\n\n  tip: four five six";
        let narrow = "error: one\ntwo three\n\n  tip: four\n  five six\n";
        assert_eq!(wrapped_lines(text, 12), narrow);
        assert_eq!(wrapped_lines(text, 80), format!("{text}\n"));
    }
}
