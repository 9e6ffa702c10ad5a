//! `verify` finds what was altered in a result: by the manifest, and where that was made anew too, by what must follow
//! from what.

use std::fs;
use std::path::{Path, PathBuf};

use candlepower::report::{Listed, Manifest};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::cli_support::{Outcome, run};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llama-tiny");

/// A result to alter copies of.
struct Original {
    dir: TempDir,
}

impl Original {
    fn new(device: &str, model: &str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("0").display().to_string();
        let args = [
            "bench", "--model", model, "--device", device, "--out", &out, "--quiet",
        ];
        run(&[&args[..], more].concat()).succeeded();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("0")
    }

    fn copy(&self, number: usize) -> PathBuf {
        let copy = self.dir.path().join(number.to_string());
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(self.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
        copy
    }
}

fn verify(dir: &Path) -> Outcome {
    run(&["verify", &dir.display().to_string(), "--json"])
}

fn text(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

/// Makes the manifest anew, as whoever alters a result might.
fn list_anew(dir: &Path) {
    let path = dir.join("manifest.json");
    let mut manifest: Manifest = serde_json::from_str(&text(dir, "manifest.json")).unwrap();
    manifest.files.retain(|name, _| dir.join(name).exists());
    for (name, listed) in &mut manifest.files {
        let bytes = fs::read(dir.join(name)).unwrap();
        *listed = Listed {
            bytes: bytes.len() as u64,
            sha256: format!("{:x}", Sha256::digest(&bytes)),
        };
    }
    fs::write(path, serde_json::to_string(&manifest).unwrap()).unwrap();
}

type Alter = Box<dyn Fn(&Path)>;

/// A value of `results.json`.
fn results(pointer: &'static str, alter: impl Fn(&Value) -> Value + 'static) -> Alter {
    Box::new(move |dir| {
        let mut results: Value = serde_json::from_str(&text(dir, "results.json")).unwrap();
        let value = results
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}"));
        let altered = alter(value);
        assert_ne!(*value, altered, "{pointer}");
        *value = altered;
        fs::write(dir.join("results.json"), results.to_string()).unwrap();
    })
}

/// A tenth more.
fn more(value: &Value) -> Value {
    json!(value.as_f64().unwrap() * 1.1)
}

fn one_more(value: &Value) -> Value {
    json!(value.as_u64().unwrap() + 1)
}

/// The lines of a file.
fn lines(name: &'static str, alter: impl Fn(&mut Vec<String>) + 'static) -> Alter {
    Box::new(move |dir| {
        let mut all: Vec<String> = text(dir, name).lines().map(str::to_owned).collect();
        alter(&mut all);
        fs::write(dir.join(name), all.join("\n") + "\n").unwrap();
    })
}

/// A value of the third line.
fn line(
    name: &'static str,
    pointer: &'static str,
    alter: impl Fn(&Value) -> Value + 'static,
) -> Alter {
    lines(name, move |all| {
        let mut record: Value = serde_json::from_str(&all[2]).unwrap();
        let value = record
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}"));
        *value = alter(value);
        all[2] = record.to_string();
    })
}

fn replaced(name: &'static str, from: &'static str, to: &'static str) -> Alter {
    Box::new(move |dir| {
        let all = text(dir, name);
        assert!(all.contains(from), "{name} has no {from}");
        fs::write(dir.join(name), all.replacen(from, to, 1)).unwrap();
    })
}

fn alterations() -> Vec<(&'static str, Alter)> {
    const REQUESTS: &str = "requests.jsonl";
    const STEPS: &str = "steps.jsonl";
    vec![
        (
            "output rate",
            results("/runs/0/metrics/output_tokens_per_sec", more),
        ),
        ("latency", results("/runs/0/metrics/avg_latency", more)),
        (
            "first token",
            results("/runs/0/metrics/avg_first_token_latency", more),
        ),
        ("slowest token", results("/runs/0/metrics/max_tpot", more)),
        (
            "median first token",
            results("/runs/0/extended/median_ttft_ms", more),
        ),
        ("gaps", results("/runs/0/extended/mean_itl_ms", more)),
        (
            "output throughput",
            results("/runs/0/extended/output_throughput", more),
        ),
        (
            "KV occupancy",
            results("/runs/0/extended/mean_kv_occupancy_percent", more),
        ),
        ("batch", results("/runs/0/extended/mean_batch_size", more)),
        (
            "bytes moved",
            results("/runs/0/extended/achieved_bytes_per_s", more),
        ),
        (
            "requests in flight",
            results("/runs/0/extended/max_in_flight", one_more),
        ),
        (
            "tokens",
            results("/runs/0/metrics/total_tokens_generated", one_more),
        ),
        (
            "requests asked for",
            results("/runs/0/scenario/requests", one_more),
        ),
        (
            "output length",
            results("/runs/0/scenario/output_len", one_more),
        ),
        ("blocks", results("/engine/num_kv_blocks", one_more)),
        ("a law", results("/runs/0/checks/0/ok", |_| json!(false))),
        ("a reason", results("/runs/0/not_observed", |_| json!({}))),
        (
            "time of day",
            results("/runs/0/metrics/timestamp", |_| {
                json!("2001-01-01T00:00:00Z")
            }),
        ),
        (
            "a token's time",
            line(REQUESTS, "/tokens/1", |v| json!(v.as_f64().unwrap() + 1e-4)),
        ),
        (
            "an arrival",
            line(REQUESTS, "/arrival", |v| json!(v.as_f64().unwrap() - 0.01)),
        ),
        ("an admission", line(REQUESTS, "/admitted", |_| json!(1e6))),
        (
            "tokens of a request",
            line(REQUESTS, "/output_tokens", one_more),
        ),
        (
            "prompt of a request",
            line(REQUESTS, "/prompt_tokens", one_more),
        ),
        ("an end", line(REQUESTS, "/finish", |_| Value::Null)),
        ("a request less", lines(REQUESTS, |all| drop(all.remove(2)))),
        (
            "a request twice",
            lines(REQUESTS, |all| all.insert(2, all[2].clone())),
        ),
        (
            "requests in another order",
            lines(REQUESTS, |all| all.swap(1, 2)),
        ),
        (
            "a step's end",
            line(STEPS, "/end", |v| json!(v.as_f64().unwrap() + 10.0)),
        ),
        ("a step's tokens", line(STEPS, "/output_tokens", one_more)),
        (
            "a step's time",
            line(STEPS, "/exec_seconds", |v| {
                json!(v.as_f64().unwrap() + 10.0)
            }),
        ),
        (
            "a step's blocks",
            line(STEPS, "/kv_blocks_used", |_| json!(1_u64 << 40)),
        ),
        (
            "a step's bytes",
            line(STEPS, "/bytes", |v| json!(v.as_u64().unwrap() * 2)),
        ),
        ("a step less", lines(STEPS, |all| drop(all.remove(2)))),
        (
            "a line of no step",
            lines(STEPS, |all| all[2] = "{}".to_owned()),
        ),
        (
            "the table",
            replaced("summary.csv", "output_throughput", "input_throughput"),
        ),
        ("the page", replaced("summary.md", "output", "input")),
        (
            "vLLM's file",
            replaced("vllm.json", "\"completed\":", "\"completed\":1"),
        ),
        (
            "a file less",
            Box::new(|dir| fs::remove_file(dir.join("telemetry.csv")).unwrap()),
        ),
    ]
}

fn holds(original: &Original) {
    let outcome = verify(&original.path());
    let audit = outcome.json();
    let checks = audit["checks"].as_array().unwrap();
    let broken: Vec<&Value> = checks.iter().filter(|check| check["ok"] != true).collect();
    assert!(broken.is_empty() && outcome.code == Some(0), "{broken:?}");
    assert_eq!(audit["ok"], true);
    let line = audit["line"].as_str().unwrap();
    assert!(
        line.starts_with("candlepower ") && line.contains("checks hold · sha256:"),
        "{line}"
    );
}

/// Each alteration, and as it is found; `anew`: with the manifest made anew.
fn finds(original: &Original, anew: bool) {
    let alterations = alterations();
    assert!(alterations.len() >= 30);
    let mut missed = Vec::new();
    for (number, (name, alter)) in alterations.iter().enumerate() {
        let copy = original.copy(number + 1);
        alter(&copy);
        if anew {
            list_anew(&copy);
        }
        let outcome = verify(&copy);
        if outcome.code == Some(0) {
            missed.push(*name);
            continue;
        }
        // Results that cannot be read are no result.
        assert!(matches!(outcome.code, Some(1 | 2)), "{name}: {outcome:?}");
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

fn on_cpu() -> Original {
    let load = [
        "--concurrency",
        "2",
        "--requests",
        "8",
        "--input-len",
        "8",
        "--output-len",
        "6",
    ];
    Original::new("cpu", MODEL, &load)
}

fn on_a_simulated_card() -> Original {
    let load = [
        "--concurrency",
        "4",
        "--requests",
        "40",
        "--output-len",
        "8",
    ];
    Original::new("sim:rtx4090-24g", "Qwen2.5-0.5B", &load)
}

#[test]
fn what_was_altered_is_found_by_the_manifest() {
    finds(&on_cpu(), false);
}

#[test]
fn what_was_altered_is_found_with_the_manifest_made_anew() {
    finds(&on_cpu(), true);
}

#[test]
fn a_prediction_too() {
    let original = on_a_simulated_card();
    holds(&original);
    finds(&original, true);
}

/// Their deviation is rounding, which reading them again rounds otherwise.
#[test]
fn requests_that_all_took_as_long_hold() {
    let load = "--concurrency 4,16 --requests 40 --output-len 64";
    let load: Vec<&str> = load.split(' ').collect();
    let original = Original::new("sim:h100-sxm", "DeepSeek-R1-Distill-Llama-8B", &load);
    let results: Value = serde_json::from_str(&text(&original.path(), "results.json")).unwrap();
    let deviation = &results["runs"][0]["extended"]["std_ttft_ms"];
    assert!(deviation.as_f64().unwrap() < 1e-9, "{deviation}");
    holds(&original);
}

#[test]
fn results_of_many_kinds_hold() {
    let several = [
        "--concurrency",
        "1,3",
        "--requests",
        "3,9",
        "--repeats",
        "3",
        "--output-len",
        "5",
        "--input-len",
        "7",
    ];
    holds(&Original::new("cpu", MODEL, &several));
    let open = [
        "--request-rate",
        "50",
        "--requests",
        "20",
        "--output-len",
        "5",
        "--warmup",
        "2",
        "--goodput",
        "ttft:1000",
    ];
    holds(&Original::new("cpu", MODEL, &open));
    let ranks = [
        "--tp",
        "2",
        "--threads",
        "2",
        "--concurrency",
        "2",
        "--requests",
        "6",
        "--output-len",
        "4",
        "--input-len",
        "5",
    ];
    holds(&Original::new("cpu", MODEL, &ranks));
    // Requests that are put back, and prompts that are found again.
    let tight = [
        "--concurrency",
        "16",
        "--requests",
        "32",
        "--input-len",
        "60",
        "--output-len",
        "60",
        "--kv-cache-memory",
        "100000",
        "--block-size",
        "4",
    ];
    holds(&Original::new("cpu", MODEL, &tight));
    let cached = [
        "--prefix-cache",
        "--prompt",
        "the same words again and again",
        "--concurrency",
        "2",
        "--requests",
        "6",
        "--output-len",
        "4",
    ];
    holds(&Original::new("cpu", MODEL, &cached));
    let timed_out = [
        "--concurrency",
        "4",
        "--requests",
        "12",
        "--request-timeout",
        "0.02",
        "--output-len",
        "40",
        "--input-len",
        "7",
    ];
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("0").display().to_string();
    let args = [
        "bench", "--model", MODEL, "--device", "cpu", "--out", &out, "--quiet",
    ];
    run(&[&args[..], &timed_out].concat());
    if dir.path().join("0").exists() {
        holds(&Original { dir });
    }
}

#[test]
fn the_schedulers_log_is_replayed() {
    let load = [
        "--concurrency",
        "3",
        "--requests",
        "12",
        "--input-len",
        "9",
        "--output-len",
        "6",
        "--log-schedule",
    ];
    for (device, model) in [("cpu", MODEL), ("sim:rtx4090-24g", "Qwen2.5-0.5B")] {
        let original = Original::new(device, model, &load);
        holds(&original);
        let alterations = [
            replaced("schedule.jsonl", "\"num_tokens\":9", "\"num_tokens\":8"),
            lines("schedule.jsonl", |all| drop(all.remove(5))),
            line("steps.jsonl", "/scheduled", one_more),
        ];
        for (number, alter) in alterations.iter().enumerate() {
            let copy = original.copy(number + 1);
            alter(&copy);
            list_anew(&copy);
            let audit = verify(&copy).json();
            let replayed = audit["checks"].as_array().unwrap().iter();
            let replayed =
                replayed.filter(|check| check["name"] == "the scheduler's log, replayed");
            let failed: Vec<&Value> = replayed.filter(|check| check["ok"] == false).collect();
            assert_eq!(failed.len(), 1, "{device} {number}: {audit}");
        }
    }
}

#[test]
fn what_nothing_can_find_is_known() {
    // Nothing else of a result follows from these: who alters one and lists the files anew is not found.
    for (number, alter) in [
        results("/environment/ram_gib", more),
        results("/environment/features", |_| json!(["another"])),
    ]
    .iter()
    .enumerate()
    {
        let original = on_cpu();
        let copy = original.copy(number + 1);
        alter(&copy);
        assert_eq!(verify(&copy).code, Some(1), "the manifest finds {number}");
        list_anew(&copy);
        assert_eq!(verify(&copy).code, Some(0), "{number}: {:?}", verify(&copy));
    }
}

#[test]
fn there_must_be_a_result() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = verify(dir.path());
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("there is no results.json"),
        "{outcome:?}"
    );
}

#[test]
fn people_read_what_does_not_hold_and_one_line() {
    let original = on_a_simulated_card();
    let shown = run(&["verify", &original.path().display().to_string()])
        .succeeded()
        .stdout;
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(
        shown.contains("Qwen2.5-0.5B · predicted · c4 · "),
        "{shown}"
    );
    let all = run(&[
        "verify",
        &original.path().display().to_string(),
        "--verbose",
    ])
    .succeeded();
    assert!(all.stdout.contains("steps follow each other: holds"));
}
