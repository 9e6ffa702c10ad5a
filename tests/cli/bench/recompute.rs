//! Every aggregate of every kind of run follows from its raw files, as an independent script in
//! another language computes it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli_support::{Copy, fixture, run};

/// Plays `bench` with exit code `code` and has the script check what it wrote.
fn checked(code: i32, model: &str, flags: &[&str]) -> Value {
    let dir = TempDir::new().unwrap();
    let out = dir.path().to_str().unwrap();
    let args: Vec<&str> = ["bench", "--model", model, "--json", "--out", out]
        .iter()
        .chain(flags)
        .copied()
        .collect();
    let outcome = run(&args);
    assert_eq!(outcome.code, Some(code), "{flags:?}: {outcome:?}");
    recompute(out);
    outcome.json()
}

pub fn recompute(out: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/recompute-metrics.py");
    let checked = Command::new("python3")
        .args([script, out])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    assert!(
        said.trim_end().ends_with(", 0 failed") && !said.starts_with("0 passed"),
        "{said}"
    );
}

#[test]
fn simulated_cards() {
    for server in ["none", "vllm"] {
        let flags = format!(
            "--device sim:h100-sxm --server {server} --tp 2 --concurrency 2,8 --requests 4,20 --output-len 12 --price-per-hour 2"
        );
        let flags: Vec<&str> = flags.split(' ').collect();
        let results = checked(0, &fixture("qwen2-tiny"), &flags);
        assert_eq!(results["runs"][1]["metrics"]["gpu_index"], json!([0, 1]));
    }
}

fn totals(results: &Value, name: &str) -> Vec<u64> {
    let runs = results["runs"].as_array().unwrap();
    runs.iter()
        .map(|run| run["metrics"][name].as_u64().unwrap())
        .collect()
}

#[test]
fn closed_loops() {
    let results = checked(
        0,
        &fixture("qwen2-tiny"),
        &[
            "--concurrency",
            "1,8,40",
            "--requests",
            "3,16,120",
            "--input-len",
            "20",
            "--output-len",
            "16",
            "--goodput",
            "ttft:5,tpot:1,e2el:1000",
        ],
    );
    assert_eq!(totals(&results, "successful_requests"), [3, 16, 120]);
    assert!(results["runs"][2]["extended"]["request_goodput"].is_number());
}

#[test]
fn open_loops() {
    let model = fixture("llama-tied-tiny");
    let load = [
        "--request-rate",
        "200",
        "--requests",
        "60",
        "--input-len",
        "12",
        "--output-len",
        "8",
    ];
    let poisson = checked(0, &model, &load);
    assert_eq!(totals(&poisson, "successful_requests"), [60]);
    let bursty: Vec<&str> = load
        .iter()
        .copied()
        .chain(["--burstiness", "0.2"])
        .collect();
    let bursty = checked(0, &model, &bursty);
    assert_eq!(bursty["runs"][0]["scenario"]["burstiness"], 0.2);
    assert_eq!(totals(&bursty, "successful_requests"), [60]);
}

#[test]
fn repeats_have_a_spread() {
    for repeats in [3, 4, 13] {
        let times = repeats.to_string();
        let load = [
            "--concurrency",
            "2,4",
            "--requests",
            "6",
            "--repeats",
            &times,
        ];
        let lengths = ["--input-len", "8", "--output-len", "6"];
        let flags: Vec<&str> = load.into_iter().chain(lengths).collect();
        let results = checked(0, &fixture("llama-tied-tiny"), &flags);
        assert_eq!(results["runs"].as_array().unwrap().len(), 2 * repeats);
        assert_eq!(results["repeats"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_dataset_with_arrivals() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("trace.jsonl");
    let lines = [
        json!({"prompt": "hello there", "output_len": 5, "arrival": 0.0}),
        json!({"prompt_ids": [1, 2, 3], "arrival": 0.01}),
        json!({"input_len": 30, "output_len": 1, "arrival": 0.01}),
        json!({"input_len": 7, "output_len": 20, "arrival": 0.15}),
    ];
    fs::write(&path, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let dataset = ["--dataset", path.to_str().unwrap()];
    let results = checked(0, &fixture("qwen3-tiny"), &dataset);
    let run = &results["runs"][0];
    assert_eq!(run["scenario"]["name"], "trace");
    assert_eq!(run["metrics"]["total_tokens_generated"], 5 + 32 + 1 + 20);
    assert!(run["metrics"]["total_duration"].as_f64().unwrap() > 0.15);
    // The same lines in a closed loop, twice over.
    let closed: Vec<&str> = dataset
        .into_iter()
        .chain(["--concurrency", "2", "--requests", "8"])
        .collect();
    let results = checked(0, &fixture("qwen3-tiny"), &closed);
    assert_eq!(
        totals(&results, "total_tokens_generated"),
        [2 * (5 + 32 + 1 + 20)]
    );
}

#[test]
fn preemptions() {
    // 12 blocks of 16 tokens and the null block; 8 requests of 5 blocks want 40.
    let results = checked(
        0,
        &fixture("qwen2-tiny"),
        &[
            "--concurrency",
            "8",
            "--requests",
            "24",
            "--input-len",
            "40",
            "--output-len",
            "40",
            "--kv-cache-memory",
            "79872",
        ],
    );
    assert_eq!(results["engine"]["num_kv_blocks"], 12);
    assert!(
        results["runs"][0]["extended"]["preemptions"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert_eq!(totals(&results, "total_tokens_generated"), [24 * 40]);
}

#[test]
fn policies_and_the_prefix_cache() {
    for policy in ["mixed", "prefill-first", "reserve"] {
        let results = checked(
            0,
            &fixture("llama-tiny"),
            &[
                "--scheduler",
                policy,
                "--prefix-cache",
                "--prompt",
                "the same words again and again, and then the same words once more",
                "--concurrency",
                "4",
                "--requests",
                "12",
                "--output-len",
                "9",
                "--max-num-batched-tokens",
                "16",
            ],
        );
        assert_eq!(results["engine"]["scheduler"], policy);
        assert_eq!(totals(&results, "total_tokens_generated"), [12 * 9]);
    }
}

#[test]
fn outputs_that_end_at_the_models_end_token() {
    // So many end tokens that outputs of random prompts end within a few tokens.
    let model = Copy::of("qwen2-tiny");
    let ends: Vec<u32> = (0..512).filter(|id| id % 4 == 0).collect();
    model.edit("generation_config.json", |config| {
        config["eos_token_id"] = json!(ends)
    });
    let results = checked(
        0,
        model.path(),
        &[
            "--concurrency",
            "4",
            "--requests",
            "16",
            "--input-len",
            "10",
            "--output-len",
            "60",
            "--stop-at-eos",
        ],
    );
    assert_eq!(totals(&results, "successful_requests"), [16]);
    let tokens = totals(&results, "total_tokens_generated")[0];
    assert!((16..16 * 60).contains(&tokens), "{tokens}");
}

#[test]
fn timeouts_that_fail_some_requests() {
    // One at a time, all waiting from the start: the k-th ends at k parts of the whole. A timeout of
    // a fifth of the whole lets some finish and some not, on a machine eight times slower or three
    // times faster than a moment ago.
    let model = fixture("qwen2-tiny");
    let load = [
        "--concurrency",
        "40",
        "--requests",
        "40",
        "--max-num-seqs",
        "1",
        "--input-len",
        "20",
        "--output-len",
        "200",
    ];
    let whole = checked(0, &model, &load)["runs"][0]["metrics"]["total_duration"]
        .as_f64()
        .unwrap();
    let timeout = format!("{}", whole / 5.0);
    let hurried: Vec<&str> = load
        .iter()
        .copied()
        .chain(["--request-timeout", &timeout])
        .collect();
    let results = checked(0, &model, &hurried);
    let run = &results["runs"][0];
    let (good, bad) = (
        run["metrics"]["successful_requests"].as_u64().unwrap(),
        run["metrics"]["failed_requests"].as_u64().unwrap(),
    );
    assert!(good > 0 && bad > 0 && good + bad == 40, "{good} and {bad}");
    let failures = run["failures"].as_array().unwrap();
    assert_eq!(failures.len() as u64, bad);
    for failure in failures {
        let reason = failure["reason"].as_str().unwrap();
        assert!(reason.starts_with("timed out after "), "{reason}");
    }
}

#[test]
fn timeouts_that_fail_all_requests() {
    let load = [
        "--concurrency",
        "2",
        "--requests",
        "5",
        "--request-timeout",
        "0.000001",
    ];
    let results = checked(1, &fixture("qwen2-tiny"), &load);
    assert_eq!(totals(&results, "failed_requests"), [5]);
    assert_eq!(results["partial"], false);
}
