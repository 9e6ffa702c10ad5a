//! How a run ends that is not left to end: Ctrl-C, and a reader who leaves.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::recompute::recompute;
use crate::cli_support::{Copy, Outcome, command, fixture, run};

/// A process that does nothing more would have ended long before.
const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(20);

pub fn spawn(args: &[&str]) -> Child {
    command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
}

/// `--out` is made before the model is loaded; a tiny model plays a second later.
pub fn wait_until_it_plays(out: &Path) {
    let start = Instant::now();
    while !out.exists() {
        assert!(start.elapsed() < PATIENCE, "the run did not start");
        sleep(GLANCE);
    }
    sleep(Duration::from_secs(1));
}

/// How long it took to end, and what came out.
pub fn finished(mut child: Child) -> (Duration, Outcome) {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!(
                "still there {PATIENCE:?} later: {:?}",
                child.wait_with_output()
            );
        }
        sleep(GLANCE);
    }
    let took = start.elapsed();
    (took, Outcome::of(child.wait_with_output().unwrap()))
}

#[test]
fn ctrl_c_shows_what_there_is() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let child = spawn(&[
        "bench",
        "--model",
        &fixture("llama-tied-tiny"),
        "--concurrency",
        "4",
        "--requests",
        "1000000",
        "--input-len",
        "8",
        "--output-len",
        "8",
        "--format",
        "full",
        "--out",
        out.to_str().unwrap(),
    ]);
    wait_until_it_plays(&out);
    interrupt(&child);
    let (_, outcome) = finished(child);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("total_requests"), "{outcome:?}");
    assert!(
        outcome.stderr.contains("once more to stop at once"),
        "{outcome:?}"
    );
    let last = outcome.stderr.lines().last().unwrap();
    assert_eq!(last, "error: the results are partial: interrupted");
    recompute(out.to_str().unwrap());
    let results = fs::read_to_string(out.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    assert_eq!(results["partial"], true);
    let metrics = &results["runs"][0]["metrics"];
    let count = |name: &str| metrics[name].as_u64().unwrap();
    assert!(count("successful_requests") > 0, "{metrics}");
    assert_eq!(count("failed_requests"), 0, "nothing was wrong: {metrics}");
    let run = &results["runs"][0];
    assert_eq!(run["cut_short"], "interrupted");
    let cut = run["extended"]["cut_off"].as_u64().unwrap();
    assert!(cut <= 4, "only those in flight: {cut}");
    assert_eq!(count("total_requests"), count("successful_requests") + cut);
    let headline = fs::read_to_string(out.join("summary.md")).unwrap();
    assert!(!headline.contains("failed:"), "{headline}");
}

#[test]
fn ctrl_c_ends_a_run_that_waits_for_an_arrival() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let child = spawn(&[
        "bench",
        "--model",
        &fixture("llama-tied-tiny"),
        "--request-rate",
        "0.001",
        "--requests",
        "3",
        "--input-len",
        "4",
        "--output-len",
        "2",
        "--json",
        "--out",
        out.to_str().unwrap(),
    ]);
    wait_until_it_plays(&out);
    interrupt(&child);
    let (took, outcome) = finished(child);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.json()["partial"], true);
}

#[test]
fn ctrl_c_twice_ends_at_once() {
    // One step over a prompt so long that it takes minutes.
    let model = Copy::of("llama-tied-tiny").with_config("max_position_embeddings", json!(1 << 20));
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let child = spawn(&[
        "bench",
        "--model",
        model.path(),
        "--concurrency",
        "1",
        "--requests",
        "1",
        "--warmup",
        "0",
        "--input-len",
        "200000",
        "--output-len",
        "1",
        "--max-num-batched-tokens",
        "200000",
        "--out",
        out.to_str().unwrap(),
    ]);
    wait_until_it_plays(&out);
    let mut child = child;
    interrupt(&child);
    sleep(Duration::from_secs(1));
    assert!(
        child.try_wait().unwrap().is_none(),
        "the step was too short for this test"
    );
    interrupt(&child);
    let (took, outcome) = finished(child);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
}

/// A step over many layers, of which each takes a while.
#[test]
fn ctrl_c_is_heard_between_two_layers() {
    let model = Copy::of("llama-tied-tiny")
        .with_config("max_position_embeddings", json!(1 << 20))
        .with_config("num_hidden_layers", json!(200));
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let flags =
        "--dummy-weights --concurrency 1 --requests 1 --warmup 0 --input-len 8000 --output-len 1";
    let flags = format!("{flags} --max-num-batched-tokens 8000 --tp");
    for tp in ["1", "3"] {
        let args: Vec<&str> = ["bench", "--model", model.path()]
            .into_iter()
            .chain(flags.split(' '))
            .chain([tp, "--out", out.to_str().unwrap()])
            .collect();
        let mut child = spawn(&args);
        wait_until_it_plays(&out);
        sleep(Duration::from_secs(2));
        assert!(
            child.try_wait().unwrap().is_none(),
            "the step was too short for this test"
        );
        interrupt(&child);
        let (took, outcome) = finished(child);
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (Some(1), ""),
            "{outcome:?}"
        );
        let last = outcome.stderr.lines().last().unwrap();
        assert_eq!(
            last,
            "error: interrupted before the first token, so there is no result"
        );
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_reader_who_leaves_is_no_error_and_costs_no_files() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().to_str().unwrap();
    let model = fixture("llama-tied-tiny");
    let bench = [
        "bench",
        "--model",
        &model,
        "--concurrency",
        "1",
        "--requests",
        "2",
        "--input-len",
        "4",
        "--output-len",
        "2",
        "--quiet",
        "--out",
        out,
    ];
    let generate = [
        "generate",
        "--model",
        &model,
        "--prompt",
        "hello",
        "--max-tokens",
        "40",
    ];
    for args in [
        &bench[..],
        &generate,
        &["models"],
        &["models", "--json"],
        &["doctor"],
        &["--help"],
    ] {
        let mut child = spawn(args);
        drop(child.stdout.take());
        let (_, outcome) = finished(child);
        assert_eq!(outcome.stderr, "", "{args:?}");
        assert_eq!(outcome.code, Some(0), "{args:?}");
    }
    recompute(out);
}

/// A deadline that falls into a step is kept though the step runs on.
#[test]
fn a_request_that_ends_after_its_deadline_has_failed() {
    let results = run(&[
        "bench",
        "--model",
        &fixture("qwen2-tiny"),
        "--input-len",
        "200",
        "--output-len",
        "1",
        "--concurrency",
        "8",
        "--requests",
        "8",
        "--request-timeout",
        "0.0001",
        "--json",
    ]);
    assert_eq!(results.code, Some(1), "{results:?}");
    let metrics = &results.json()["runs"][0]["metrics"];
    assert_eq!(metrics["failed_requests"], 8, "{metrics}");
}

/// Neither warm-up nor an earlier run leaves cached prefixes behind.
#[test]
fn every_run_starts_with_a_cold_prefix_cache() {
    let dir = TempDir::new().unwrap();
    let dataset = dir.path().join("two.jsonl");
    let ids: Vec<u32> = (1..=64).collect();
    let line = json!({"prompt_ids": ids, "output_len": 2}).to_string();
    fs::write(&dataset, format!("{line}\n{line}\n")).unwrap();
    let out = dir.path().join("out");
    let args = [
        "bench",
        "--model",
        &fixture("qwen2-tiny"),
        "--dataset",
        dataset.to_str().unwrap(),
        "--prefix-cache",
        "--repeats",
        "2",
        "--concurrency",
        "1",
        "--out",
        out.to_str().unwrap(),
    ];
    run(&args).succeeded();
    let steps = fs::read_to_string(out.join("steps.jsonl")).unwrap();
    let prefill: Vec<u64> = steps
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|step| step["prefill_tokens"].as_u64().filter(|&n| n > 0))
        .collect();
    // The second request finds three full blocks of the first one's; the last block is computed.
    assert_eq!(prefill, [64, 16, 64, 16]);
}
