//! Real weights: SmolLM2-135M, as `scripts/fetch-smollm2` lays it out.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_candlepower");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn model() -> PathBuf {
    let dir = Path::new(ROOT).join("target/smollm2-135m");
    let there = dir.join("model.safetensors").is_file();
    assert!(
        there,
        "{} is not there: run scripts/fetch-smollm2",
        dir.display()
    );
    dir
}

fn run(arguments: &[&str]) -> String {
    let output = Command::new(BINARY)
        .args(arguments)
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("stdout is text")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&run(arguments)).expect("stdout is JSON")
}

#[test]
fn the_capital_of_france() {
    let dir = model();
    let dir = dir.to_str().unwrap();
    let prompt = "The capital of France is";
    let text = run(&[
        "generate",
        "--model",
        dir,
        "--prompt",
        prompt,
        "--max-tokens",
        "8",
    ]);
    assert!(text.trim_start().starts_with("Paris"), "{text:?}");
}

#[test]
fn continuations_equal_golden() {
    let dir = model();
    let golden = Path::new(ROOT).join("tests/fixtures/smollm2-golden.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    let mut arguments = vec!["generate", "--model", dir.to_str().unwrap(), "--json"];
    arguments.extend([
        "--ignore-eos",
        "--max-tokens",
        "32",
        "--kv-cache-dtype",
        "f32",
    ]);
    arguments.extend(["--logprobs", "5"]);
    for case in cases {
        arguments.extend(["--prompt", case["prompt"].as_str().unwrap()]);
    }
    let answers = json(&arguments);
    for (case, answer) in cases.iter().zip(answers.as_array().unwrap()) {
        // The texts carry their own chat marks, so the tokenizer is held to golden too.
        assert_eq!(answer["prompt_ids"], case["prompt_ids"]);
        assert_eq!(answer["token_ids"], case["greedy"], "{}", case["prompt"]);
        best_five_agree(&case["first_top5"], &answer["logprobs"][0]["top"]);
    }
}

/// Golden has logits, we report log-probabilities: their differences must be the same.
fn best_five_agree(golden: &Value, found: &Value) {
    let pairs = |v: &Value| -> Vec<(u64, f64)> {
        let pairs = v.as_array().unwrap().iter();
        pairs
            .map(|p| (p[0].as_u64().unwrap(), p[1].as_f64().unwrap()))
            .collect()
    };
    let (golden, found) = (pairs(golden), pairs(found));
    let offset = golden[0].1 - found[0].1;
    for (g, f) in golden.iter().zip(&found) {
        assert_eq!(g.0, f.0);
        assert!(
            (g.1 - f.1 - offset).abs() < 1e-3,
            "{golden:?} against {found:?}"
        );
    }
}

/// Every aggregate of a real run follows from its raw records, by someone else's arithmetic.
#[test]
fn a_run_is_recomputed_from_its_records() {
    let dir = model();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    let results = json(&[
        "bench",
        "--model",
        dir.to_str().unwrap(),
        "--concurrency",
        "1,8",
        "--requests",
        "10,64",
        "--input-len",
        "100",
        "--output-len",
        "64",
        "--json",
        "--out",
        out,
    ]);
    let requests = results["runs"][1]["metrics"]["successful_requests"].as_u64();
    assert_eq!(requests, Some(64));
    let script = Path::new(ROOT).join("scripts/recompute-metrics.py");
    let recomputed = Command::new("python3")
        .args(["-B", script.to_str().unwrap(), out])
        .output()
        .expect("python3 runs");
    let text = String::from_utf8_lossy(&recomputed.stdout);
    assert!(recomputed.status.success(), "{text}");
    assert!(text.contains(" 0 failed"), "{text}");
}
