//! Where results go when stdout does not take them, and flags that would write one file twice.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::cli_support::{Outcome, command, fixture, refused};

fn bench(model: &str) -> Command {
    command(&[
        "bench",
        "--model",
        model,
        "--concurrency",
        "1",
        "--requests",
        "1",
        "--input-len",
        "4",
        "--output-len",
        "2",
        "--format",
        "full",
    ])
}

#[test]
fn a_table_that_a_full_device_refuses_goes_to_stderr() {
    let model = fixture("qwen2-tiny");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = bench(&model).stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("output_tokens_per_sec"), "{said}");
    assert!(said.contains("error: stdout cannot be written"), "{said}");
}

#[test]
fn a_stdout_that_was_closed_loses_neither_the_table_nor_the_files() {
    let model = fixture("qwen2-tiny");
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("result");
    let program = bench(&model);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("exec \"$@\" >&-").arg("sh");
    shell.arg(program.get_program()).args(program.get_args());
    shell.arg("--out").arg(&out);
    let output = shell.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("output_tokens_per_sec"), "{said}");
    assert!(out.join("results.json").is_file() && out.join("manifest.json").is_file());
}

#[test]
fn two_flags_never_write_one_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("both.html");
    let file = file.to_str().unwrap();
    // The same file by another name.
    let link = dir.path().join("link.html");
    fs::write(file, "").unwrap();
    std::os::unix::fs::symlink(file, &link).unwrap();
    let model = fixture("qwen2-tiny");
    let args = ["profile", "--model", &model, "--trace", file];
    let same = [&args[..], &["--csv", file]].concat();
    refused(&same, &["--trace", "--csv", "both.html"]);
    let linked = [&args[..], &["--plot", link.to_str().unwrap()]].concat();
    refused(&linked, &["--trace", "--plot", "both.html"]);
}

#[test]
fn names_in_files_do_not_drive_the_terminal() {
    let model = "./no-\u{1b}[2Jsuch";
    let outcome = Outcome::of(command(&["bench", "--model", model]).output().unwrap());
    let said = outcome.stderr;
    assert!(
        !said.contains('\u{1b}') && said.contains("\\u{1b}[2J"),
        "{said}"
    );
}
