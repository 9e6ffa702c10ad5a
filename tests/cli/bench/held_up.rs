//! Runs that pause, and runs that are paused from outside.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::ends::{finished, spawn, wait_until_it_plays};
use super::recompute::recompute;
use crate::cli_support::{fixture, run};

fn checks(results: &Value) -> &Vec<Value> {
    results["runs"][0]["checks"].as_array().unwrap()
}

fn check<'a>(results: &'a Value, name: &str) -> &'a Value {
    let found = checks(results).iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", checks(results)))
}

fn bench(device: &str, model: &str, load: &str) -> Value {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    let mut args = vec![
        "bench", "--device", device, "--model", model, "--json", "--out", out,
    ];
    args.extend(load.split(' '));
    let results = run(&args).succeeded().json();
    if device == "cpu" {
        recompute(out);
    }
    results
}

/// The loads that were handed in, and others with other pauses.
#[test]
fn an_engine_that_was_idle_breaks_no_law() {
    let dir = TempDir::new().unwrap();
    let trace = |name: &str, arrivals: &[f64]| {
        let line = |arrival| {
            format!("{{\"input_len\": 10, \"output_len\": 3, \"arrival\": {arrival:?}}}\n")
        };
        let path = dir.path().join(name);
        fs::write(&path, arrivals.iter().map(line).collect::<String>()).unwrap();
        format!("--dataset {}", path.display())
    };
    let even: Vec<f64> = (0..6).map(|i| f64::from(i) * 0.05).collect();
    let model = fixture("llama-tied-tiny");
    let simulated = "DeepSeek-R1-Distill-Llama-8B";
    let open = "--request-rate 1 --requests 10 --output-len 64";
    let bursts = "--request-rate 5 --burstiness 0.2 --requests 40 --output-len 8 --server vllm";
    for (device, model, load) in [
        ("sim:h100-sxm", simulated, open.to_owned()),
        ("sim:l4", "Qwen2.5-0.5B", bursts.to_owned()),
        (
            "sim:h100-sxm",
            simulated,
            trace("minutes", &[0.0, 1.0, 500.0, 500.0, 4000.0]),
        ),
        ("cpu", &*model, trace("even", &even)),
        ("cpu", &*model, trace("apart", &[0.3, 0.3, 1.5])),
        (
            "cpu",
            &*model,
            "--request-rate 10 --requests 12 --input-len 8 --output-len 4".to_owned(),
        ),
        (
            "cpu",
            &*model,
            "--concurrency 3 --requests 12 --input-len 8 --output-len 4".to_owned(),
        ),
    ] {
        let results = bench(device, model, &load);
        let broken: Vec<_> = checks(&results)
            .iter()
            .filter(|check| check["ok"] != true)
            .collect();
        assert!(broken.is_empty(), "{device} {load}: {broken:?}");
        check(&results, "engine_load");
    }
}

#[test]
fn one_request_s_percentiles_are_marked() {
    let results = bench(
        "cpu",
        &fixture("llama-tied-tiny"),
        "--concurrency 1 --requests 1 --input-len 4 --output-len 4",
    );
    let run = &results["runs"][0];
    for name in ["p90_latency", "p95_latency", "p99_latency", "p95_tpot"] {
        assert!(run["metrics"][name].is_number(), "{name}");
        let low = run["extended"]["low_confidence"].as_array().unwrap();
        assert!(
            low.iter().any(|low| low == name),
            "{name} is not in {low:?}"
        );
    }
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// A closed loop, and an open one whose pauses hide a stop from its steps.
#[test]
fn a_process_that_was_stopped_says_so() {
    for load in [
        "--concurrency 2 --requests 100000 --input-len 8 --output-len 16",
        "--request-rate 3 --requests 1000 --input-len 4 --output-len 2",
    ] {
        let dir = TempDir::new().unwrap();
        let out = dir.path().join("out");
        let model = fixture("llama-tied-tiny");
        let mut args = vec![
            "bench",
            "--model",
            &model,
            "--json",
            "--out",
            out.to_str().unwrap(),
        ];
        args.extend(load.split(' '));
        let child = spawn(&args);
        wait_until_it_plays(&out);
        sleep(Duration::from_millis(700));
        signal(child.id(), "-STOP");
        sleep(Duration::from_millis(2500));
        signal(child.id(), "-CONT");
        sleep(Duration::from_millis(700));
        signal(child.id(), "-INT");
        let (_, outcome) = finished(child);
        let results = outcome.json();
        let stalls = check(&results, "stalls");
        assert_eq!(stalls["ok"], false, "{load}: {:?}", checks(&results));
        assert!(
            stalls["detail"].as_str().unwrap().contains("held up"),
            "{stalls}"
        );
    }
}
