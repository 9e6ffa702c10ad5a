//! The program run as its users run it, and checkpoints with one thing wrong.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What came out of one run.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("stdout is not one JSON value ({e}): {self:?}"))
    }

    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// The program, away from any network and from the caller's own model cache.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candlepower"));
    command
        .args(args)
        .env("HF_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("HF_TOKEN")
        // With it, errors from below go on for pages.
        .env_remove("RUST_BACKTRACE")
        // Of whoever runs the tests.
        .env_remove("COLUMNS")
        .stdin(Stdio::null());
    command
}

pub fn run(args: &[&str]) -> Outcome {
    Outcome::of(command(args).output().unwrap())
}

/// `generate` of 32 tokens, exactly, in numbers that do not round the cache.
pub fn generate_exactly(model: &str, prompt_ids: &str, more: &[&str]) -> Outcome {
    let args = ["generate", "--model", model, "--prompt-ids", prompt_ids];
    let exact = "--json --max-tokens 32 --ignore-eos --kv-cache-dtype f32";
    let exact: Vec<&str> = exact.split(' ').collect();
    run(&[&args[..], &exact, more].concat()).succeeded()
}

/// Prompt `index` of the fixture `name`, as `--prompt-ids` takes it, and its greedy continuation.
pub fn golden(name: &str, index: usize) -> (String, Value) {
    let text = fs::read_to_string(fixture(name) + "/golden.json").unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let ids = golden["prompts"][index].as_array().unwrap().iter();
    let prompt: Vec<String> = ids.map(Value::to_string).collect();
    (prompt.join(","), golden["greedy"][index].clone())
}

pub fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    path.join(name).to_str().unwrap().to_owned()
}

/// Expects exit code `code`, an empty stdout, and one sentence on stderr that has all `parts`.
pub fn refused_with(code: i32, args: &[&str], parts: &[&str]) {
    let outcome = run(args);
    assert_eq!(outcome.code, Some(code), "{args:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{args:?}");
    let line = outcome.stderr.strip_suffix('\n').unwrap_or_default();
    assert!(line.starts_with("error: "), "{args:?}: {outcome:?}");
    assert!(!line.contains('\n'), "{args:?}: more than one line: {line}");
    for part in parts {
        assert!(line.contains(part), "{args:?}: {part:?} is not in {line:?}");
    }
}

pub fn refused(args: &[&str], parts: &[&str]) {
    refused_with(2, args, parts);
}

/// Expects the parser to refuse `value` of `flag`; its hint may follow on lines of its own.
pub fn bad_value(command: &[&str], flag: &str, value: &str) {
    let args: Vec<&str> = command.iter().copied().chain([flag, value]).collect();
    let outcome = run(&args);
    assert_eq!(outcome.code, Some(2), "{args:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{args:?}");
    let first = outcome.stderr.lines().next().unwrap_or_default();
    let start = format!("error: invalid value '{value}' for '{flag} <");
    assert!(first.starts_with(&start), "{args:?}: {first}");
    let (_, rule) = first.split_once(">': ").unwrap();
    assert!(rule.starts_with("it must be "), "{args:?}: {first}");
}

/// A copy of a fixture that a test may spoil.
pub struct Copy {
    pub dir: TempDir,
}

impl Copy {
    pub fn of(name: &str) -> Self {
        let dir = TempDir::new().unwrap();
        copy_files(Path::new(&fixture(name)), dir.path());
        Self { dir }
    }

    pub fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.file(name), content).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    /// Changes a JSON file of the copy.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        let mut value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        self.write(name, value.to_string());
    }

    pub fn with_config(self, key: &str, value: Value) -> Self {
        self.edit("config.json", |config| config[key] = value);
        self
    }
}

/// The model's files of `from`, without the golden outputs.
pub fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("golden") {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}
