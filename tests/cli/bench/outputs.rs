//! stdout, stderr and the files of a run.

use std::collections::BTreeSet;
use std::fs;

use candlepower::ground::results::Results;
use tempfile::TempDir;

use crate::cli_support::{fixture, run};

/// The source report's names, as the contract lists them.
const METRICS: [&str; 35] = [
    "total_requests",
    "successful_requests",
    "failed_requests",
    "success_rate",
    "requests_per_sec",
    "avg_latency",
    "min_latency",
    "max_latency",
    "p90_latency",
    "p95_latency",
    "p99_latency",
    "avg_first_token_latency",
    "avg_tpot",
    "p95_tpot",
    "min_tpot",
    "max_tpot",
    "total_tokens_generated",
    "max_throughput",
    "min_throughput",
    "avg_throughput",
    "overall_total_throughput",
    "input_tokens_per_sec",
    "output_tokens_per_sec",
    "total_duration",
    "model",
    "prompt",
    "timestamp",
    "avg_gpu_mem_percent",
    "avg_gpu_power_watts",
    "avg_gpu_temp_C",
    "avg_gpu_clock_gr_mhz",
    "avg_gpu_clock_mem_mhz",
    "cpu_percent",
    "ram_percent",
    "gpu_index",
];

#[test]
fn json_is_one_object_of_the_schema_with_every_metric() {
    for name in ["qwen2-tiny", "qwen3-tiny", "llama-tiny"] {
        let model = fixture(name);
        let outcome = run(&[
            "bench",
            "--model",
            &model,
            "--concurrency",
            "1,8",
            "--requests",
            "3,16",
            "--input-len",
            "20",
            "--output-len",
            "12",
            "--json",
        ])
        .succeeded();
        assert_eq!(outcome.stderr, "", "no progress and no remarks in a pipe");
        let results = outcome.json();
        let validator = jsonschema::validator_for(&Results::schema()).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(&results)
            .map(|e| e.to_string())
            .collect();
        assert!(faults.is_empty(), "{faults:?}");
        let _: Results = serde_json::from_value(results.clone()).unwrap();

        assert_eq!(results["kind"], "measured");
        assert_eq!(results["partial"], false);
        assert_eq!(results["model"]["weights"], "checkpoint");
        let start_up = &results["start_up"];
        let seconds = |part: &str| start_up[part].as_f64().unwrap();
        assert!(seconds("load_s") > 0.0 && seconds("total_s") >= seconds("load_s"));
        for part in ["upload_s", "warm_up_s", "capture_s"] {
            let reason = start_up["not_observed"][part].as_str().unwrap();
            assert!(
                start_up[part].is_null() && reason.starts_with("a CPU "),
                "{start_up}"
            );
        }
        let runs = results["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        for (run, (concurrency, requests)) in runs.iter().zip([(1, 3), (8, 16)]) {
            assert_eq!(run["scenario"]["concurrency"], concurrency);
            assert_eq!(run["scenario"]["input_len"], 20);
            assert_eq!(run["metrics"]["total_requests"], requests);
            assert_eq!(run["metrics"]["successful_requests"], requests);
            assert_eq!(run["metrics"]["total_tokens_generated"], requests * 12);
            let names: BTreeSet<&str> = run["metrics"]
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(names, BTreeSet::from(METRICS));
        }
    }
}

#[test]
fn the_table_is_plain_text_no_wider_than_a_page() {
    let model = fixture("qwen2-tiny");
    let outcome = run(&[
        "bench",
        "--model",
        &model,
        "--concurrency",
        "1,2,4",
        "--requests",
        "2",
        "--input-len",
        "8",
        "--output-len",
        "4",
        "--format",
        "full",
    ])
    .succeeded();
    assert_eq!(outcome.stderr, "");
    assert!(!outcome.stdout.contains('\x1b'), "escapes in a pipe");
    for line in outcome.stdout.lines() {
        assert!(line.chars().count() <= 100, "{line:?}");
    }
    for part in [
        "c1",
        "c2",
        "c4",
        "requests_per_sec",
        "mean_ttft_ms",
        "not observed",
        "no GPU took part",
    ] {
        assert!(outcome.stdout.contains(part), "{part}");
    }
}

#[test]
fn out_writes_every_file_and_quiet_says_nothing() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("a/b");
    let model = fixture("llama-tied-tiny");
    let args = [
        "bench",
        "--model",
        &model,
        "--concurrency",
        "2",
        "--requests",
        "4",
        "--input-len",
        "8",
        "--output-len",
        "4",
        "--json",
        "--out",
        out.to_str().unwrap(),
    ];
    let outcome = run(&args).succeeded();
    assert_eq!(outcome.stderr, format!("written to {}\n", out.display()));
    for name in [
        "results.json",
        "requests.jsonl",
        "steps.jsonl",
        "telemetry.csv",
        "summary.csv",
        "summary.md",
        "report.html",
        "vllm.json",
    ] {
        assert!(fs::metadata(out.join(name)).unwrap().len() > 0, "{name}");
    }
    let written = fs::read_to_string(out.join("results.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written, outcome.json());

    let other = dir.path().join("other");
    let mut quiet = [&args[..], &["--quiet"]].concat();
    quiet[args.len() - 1] = other.to_str().unwrap();
    assert_eq!(run(&quiet).succeeded().stderr, "");
}

#[test]
fn warm_up_is_not_counted() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().to_str().unwrap();
    let model = fixture("llama-tied-tiny");
    let outcome = run(&[
        "bench",
        "--model",
        &model,
        "--concurrency",
        "1",
        "--requests",
        "3",
        "--warmup",
        "5",
        "--input-len",
        "8",
        "--output-len",
        "4",
        "--json",
        "--out",
        out,
    ])
    .succeeded();
    let results = outcome.json();
    let run = &results["runs"][0];
    assert_eq!(run["metrics"]["total_requests"], 3);
    assert_eq!(run["extended"]["steps"], 12);
    let lines = fs::read_to_string(dir.path().join("requests.jsonl")).unwrap();
    let ids: Vec<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [0, 1, 2]);
    let steps = fs::read_to_string(dir.path().join("steps.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(steps.lines().next().unwrap()).unwrap();
    assert_eq!(first["step"], 0, "counted behind the warm-up");
    assert!(first["start"].as_f64().unwrap() >= 0.0);
}

#[test]
fn a_card_and_a_config_run_on_dummy_weights() {
    let config = fixture("llama-tiny/config.json");
    let load = [
        "--concurrency",
        "1",
        "--requests",
        "1",
        "--input-len",
        "4",
        "--output-len",
        "2",
    ];
    let args = |model| {
        ["bench", "--json", "--model", model]
            .into_iter()
            .chain(load)
    };
    let results = run(&args(&config).collect::<Vec<_>>()).succeeded().json();
    assert_eq!(results["model"]["weights"], "dummy");
    let slice = ["--layers", "1"];
    let results = run(&args("Qwen2.5-0.5B").chain(slice).collect::<Vec<_>>())
        .succeeded()
        .json();
    assert_eq!(results["model"]["weights"], "dummy");
    assert_eq!(results["model"]["num_hidden_layers"], 1);
    assert_eq!(results["model"]["vocab_size"], 151_936);
}
