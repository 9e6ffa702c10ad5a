//! Records the git revision, and compiles the CUDA kernels where the feature `cuda` asks for them.

#[path = "kernels/build.rs"]
mod kernels;

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    println!("cargo:rerun-if-changed=src");
    let revision = git(&["rev-parse", "--short=12", "HEAD"]);
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"]);
    let mark = match dirty.as_deref() {
        Some("") | None => "",
        Some(_) => "-dirty",
    };
    let revision = revision.map(|r| r + mark).unwrap_or_default();
    println!("cargo:rustc-env=CANDLEPOWER_GIT={revision}");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some()
        && let Err(message) = kernels::compile()
    {
        eprintln!("error: {message}");
        std::process::exit(1);
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
