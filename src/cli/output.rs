//! stdout carries results, stderr everything else. A closed pipe is not an error.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::exit;

use rustix::fs::OFlags;

use super::failure::Failure;
use crate::ground::terminal::printable;

/// Writes results to stdout and flushes. Where that cannot be, stderr has them: they may have taken hours.
pub fn result(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    if may_be_closed(&stdout) {
        note(text.trim_end());
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
            note(text.trim_end());
            Err(Failure::run(anyhow::anyhow!(
                "stdout cannot be written: {error}; the result stands above"
            )))
        }
    }
}

/// Whether it was closed (`>&-`) at the start: Rust then opens the null device in its place, for reading too. No shell does
/// that, but some programs do that start others and want no output; so it is no error.
fn may_be_closed(stdout: &impl AsFd) -> bool {
    let mode = rustix::fs::fcntl_getfl(stdout).map(|flags| flags & OFlags::ACCMODE);
    let own = rustix::fs::fstat(stdout).map(|stat| stat.st_rdev);
    let null = rustix::fs::stat("/dev/null").map(|stat| stat.st_rdev);
    mode == Ok(OFlags::RDWR) && own.is_ok() && own == null
}

pub fn line(text: &str) -> Result<(), Failure> {
    result(&format!("{text}\n"))
}

pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::run)?;
    line(&text)
}

/// A remark on stderr; stderr that is gone is nobody's loss. Names in files do not drive the terminal.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
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
