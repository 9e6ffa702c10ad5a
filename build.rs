//! Records the git revision, and compiles the CUDA kernels where the feature `cuda` asks for them.

#[path = "kernels/build.rs"]
mod kernels;

use std::process::Command;

/// Of a revision.
const DIGITS: usize = 12;

fn main() {
    println!("cargo:rerun-if-changed=src");
    let revision = packaged().or_else(checked_out).unwrap_or_default();
    println!("cargo:rustc-env=CANDLEPOWER_GIT={revision}");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some()
        && let Err(message) = kernels::compile()
    {
        eprintln!("error: {message}");
        std::process::exit(1);
    }
}

/// Of the repository that a package was made from: cargo leaves a note in it. A repository around an unpacked package is
/// not its own.
fn packaged() -> Option<String> {
    let note = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = note.split_once("\"sha1\": \"")?;
    let revision: String = rest.chars().take(DIGITS).collect();
    Some(marked(revision, note.contains("\"dirty\": true")))
}

/// Of the repository that this is.
fn checked_out() -> Option<String> {
    // A missing file would mean to build anew each time, and a work tree has these elsewhere.
    for name in ["HEAD", "refs/heads"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let revision = git(&["rev-parse", &format!("--short={DIGITS}"), "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    Some(marked(
        revision,
        changed.is_some_and(|files| !files.is_empty()),
    ))
}

fn marked(revision: String, dirty: bool) -> String {
    let mark = if dirty { "-dirty" } else { "" };
    revision + mark
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
