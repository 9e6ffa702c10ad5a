//! Where results go when stdout does not take them, and flags that would write one file twice.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cli_support::{Outcome, command, fixture, refused, run};

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
fn a_stdout_that_only_reads_loses_no_table() {
    let model = fixture("qwen2-tiny");
    let output = bench(&model)
        .stdout(File::open("/dev/null").unwrap())
        .output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(said.contains("output_tokens_per_sec"), "{said}");
}

/// `ulimit -f`: the system would end the program.
#[test]
fn a_limit_on_files_is_told_and_costs_no_table() {
    let model = fixture("qwen2-tiny");
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("result");
    for (kilobytes, code, parts) in [
        (0, 2, ["cannot be written", "--out"]),
        // Room for the probe, and for no more than the smallest files.
        (5, 1, ["output_tokens_per_sec", "File too large"]),
    ] {
        let program = bench(&model);
        let mut shell = Command::new("bash");
        let script = format!("ulimit -f {kilobytes}; exec \"$@\"");
        shell.arg("-c").arg(script).arg("bash");
        shell.arg(program.get_program()).args(program.get_args());
        shell.arg("--out").arg(&out);
        let said = Outcome::of(shell.output().unwrap());
        assert_eq!(said.code, Some(code), "{said:?}");
        let all = format!("{}{}", said.stdout, said.stderr);
        for part in parts {
            assert!(all.contains(part), "{part}: {said:?}");
        }
    }
}

/// Also where it is stdout's own.
#[test]
fn a_file_that_stdout_goes_to_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("both");
    let model = fixture("qwen2-tiny");
    let args = [
        "profile",
        "--model",
        &model,
        "--csv",
        path.to_str().unwrap(),
    ];
    let mut program = command(&args);
    program.stdout(File::create(&path).unwrap());
    let said = Outcome::of(program.output().unwrap());
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stderr.contains("stdout writes this file too"),
        "{said:?}"
    );
}

fn pipe(dir: &TempDir) -> String {
    let path = dir.path().join("pipe.svg").to_str().unwrap().to_owned();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

#[test]
fn a_pipe_that_nobody_reads_is_not_waited_for() {
    let dir = TempDir::new().unwrap();
    let path = pipe(&dir);
    let model = fixture("qwen2-tiny");
    for (command, flag) in [
        ("bench", "--trace"),
        ("profile", "--trace"),
        ("profile", "--csv"),
        ("profile", "--plot"),
    ] {
        refused(
            &[command, "--model", &model, flag, &path],
            &[flag, "nobody reads"],
        );
    }
}

#[test]
fn pipes_and_devices_take_what_files_take() {
    let dir = TempDir::new().unwrap();
    let path = pipe(&dir);
    let model = fixture("qwen2-tiny");
    let args = [
        "profile",
        "--model",
        &model,
        "--context",
        "8",
        "--steps",
        "2",
    ];
    let reader = Command::new("cat")
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The reader opens it once it runs.
    let start = Instant::now();
    let outcome = loop {
        let outcome = run(&[&args[..], &["--csv", &path]].concat());
        if outcome.code != Some(2) || start.elapsed() > Duration::from_secs(20) {
            break outcome;
        }
    };
    outcome.succeeded();
    let read = reader.wait_with_output().unwrap();
    assert!(read.stdout.starts_with(b"model,"), "{read:?}");
    run(&[&args[..], &["--csv", "/dev/null", "--trace", "/dev/null"]].concat()).succeeded();
}

#[test]
fn a_trace_that_cannot_be_written_costs_neither_table_nor_files() {
    let model = fixture("qwen2-tiny");
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("result");
    let mut program = bench(&model);
    program.args(["--trace", "/dev/full", "--out"]).arg(&out);
    let said = Outcome::of(program.output().unwrap());
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("output_tokens_per_sec"), "{said:?}");
    assert!(said.stderr.contains("error: --trace /dev/full"), "{said:?}");
    assert!(out.join("manifest.json").is_file());
}

#[test]
fn a_trace_does_not_take_a_result_s_place() {
    let model = fixture("qwen2-tiny");
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("result");
    for name in [
        "results.json",
        "requests.jsonl",
        "vllm-3.json",
        "report.html",
    ] {
        let trace = out.join(name);
        let mut program = bench(&model);
        program.arg("--trace").arg(&trace).arg("--out").arg(&out);
        let said = Outcome::of(program.output().unwrap());
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.stderr.contains("give it another"), "{said:?}");
        assert!(!trace.exists());
    }
    let mut program = bench(&model);
    program
        .arg("--trace")
        .arg(out.join("trace.json"))
        .arg("--out")
        .arg(&out);
    Outcome::of(program.output().unwrap()).succeeded();
    assert!(out.join("trace.json").is_file() && out.join("results.json").is_file());
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
