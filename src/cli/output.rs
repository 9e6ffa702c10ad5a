//! stdout carries results, stderr everything else. A closed pipe is not an error.

use std::io::{self, IsTerminal, Write};
use std::process::exit;

use super::failure::Failure;

/// Writes results to stdout and flushes.
pub fn result(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        // The reader has seen enough (`| head`): nobody is left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit(0),
        other => other.map_err(|e| Failure::run(anyhow::anyhow!("stdout cannot be written: {e}"))),
    }
}

pub fn line(text: &str) -> Result<(), Failure> {
    result(&format!("{text}\n"))
}

pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::run)?;
    line(&text)
}

/// A remark on stderr; stderr that is gone is nobody's loss.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

pub fn error(failure: &Failure) {
    note(&format!("error: {failure}"));
}

/// Columns of the terminal behind stdout; `None` in a pipe.
pub fn terminal_width() -> Option<usize> {
    let terminal = io::stdout().is_terminal().then(console::Term::stdout)?;
    terminal
        .size_checked()
        .map(|(_, columns)| usize::from(columns))
}
