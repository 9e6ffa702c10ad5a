//! `profile` on GPUs, timed by events: every operation, and below it the kernels that it launched.

use candlepower::ops::cuda::Gpu;
use serde_json::Value;

use crate::cli_support::{Outcome, command, fixture};

/// As where CUPTI is not found.
const EVENTS: [&str; 2] = ["--timed-by", "events"];

/// Two steps of two sequences of 40 tokens on a tiny model, with `flags` and `variables`.
pub fn profile(flags: &[&str], variables: &[(&str, &str)]) -> Value {
    let flags = [&["--json", "--batch", "2", "--steps", "2"], flags].concat();
    steps(&flags, variables).json()
}

/// Steps of sequences of 40 tokens on a tiny model.
pub fn steps(flags: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let model = fixture("qwen3-tiny");
    let args = "profile --device cuda --context 40 --max-model-len 128 --max-num-seqs 4 --max-num-batched-tokens 128 --model";
    let mut args: Vec<&str> = args.split(' ').collect();
    args.push(&model);
    args.extend(flags);
    let mut command = command(&args);
    command.envs(variables.iter().copied());
    Outcome::of(command.output().unwrap()).succeeded()
}

pub fn rows(profile: &Value) -> &Vec<Value> {
    profile["ops"].as_array().unwrap()
}

pub fn row<'a>(profile: &'a Value, name: &str) -> &'a Value {
    let row = rows(profile).iter().find(|row| row["name"] == name);
    row.unwrap_or_else(|| panic!("{name} is not in {profile}"))
}

pub fn kernels<'a>(profile: &'a Value, operation: &str) -> &'a Vec<Value> {
    row(profile, operation)["kernels"].as_array().unwrap()
}

/// Of all kernels of an operation.
pub fn sum(profile: &Value, operation: &str, key: &str) -> f64 {
    let kernels = kernels(profile, operation).iter();
    kernels.map(|kernel| kernel[key].as_f64().unwrap()).sum()
}

#[test]
fn every_operation_has_its_kernels_below_it() {
    let profile = profile(&[&EVENTS[..], &["--phase", "decode"]].concat(), &[]);
    assert_eq!(profile["timed_by"], "events");
    let reason = profile["not_observed"]["totals.kernels_us"].as_str();
    assert!(reason.unwrap().contains("--timed-by"), "{reason:?}");
    assert!(profile["totals"]["kernels_us"].is_null());
    for (name, kernel) in [
        ("embed", "gather"),
        ("norm", "add_norm"),
        ("qkv", "gemv"),
        ("write_kv", "write_kv"),
        ("attend", "attention_decode"),
        ("o", "gemv"),
        ("gate_up", "gemv"),
        ("down", "gemv"),
        ("head", "gemv"),
    ] {
        let (row, kernels) = (row(&profile, name), kernels(&profile, name));
        let first = kernels[0]["name"].as_str().unwrap();
        assert!(first.starts_with(kernel), "{name}: {first}");
        let launches = sum(&profile, name, "launches");
        let calls = row["calls"].as_f64().unwrap();
        assert!(launches >= calls && launches % calls == 0.0, "{row}");
        // Whatever an operation does besides launching lies before or between its kernels.
        let us = row["us"].as_f64().unwrap();
        assert!((sum(&profile, name, "us") - us).abs() < 1e-3 * us, "{row}");
        for kernel in kernels {
            assert!(kernel["grid"][0].as_u64().unwrap() > 0, "{kernel}");
            assert!(kernel["block"].as_u64().unwrap() >= 32, "{kernel}");
            assert!(kernel["registers"].as_u64().unwrap() > 0, "{kernel}");
            let occupancy = kernel["occupancy"].as_f64().unwrap();
            assert!(occupancy > 0.0 && occupancy <= 1.0, "{kernel}");
            assert!(kernel["bytes"].is_null(), "{kernel}");
        }
    }
    let time = |row: &Value| row["us"].as_f64().unwrap();
    assert!(rows(&profile).iter().all(|row| time(row) >= 0.0));
    let reason = profile["not_observed"]["kernels.bytes"].as_str().unwrap();
    assert!(reason.contains("ncu"), "{reason}");
    // Of few rows it is the end of `gate_up`.
    assert!(rows(&profile).iter().all(|row| row["name"] != "silu_mul"));
}

/// The whole weights, and little more: they do not fit into the sectors of a few requests exactly.
#[test]
fn bytes_are_those_that_the_virtual_gpu_counts() {
    if !Gpu::is_virtual(0).unwrap() {
        eprintln!("SKIPPED: a card counts no bytes for us");
        return;
    }
    for flags in [&EVENTS[..], &[]] {
        let profile = profile(flags, &[("VGPU_TRAFFIC", "1")]);
        assert!(profile["not_observed"]["kernels.bytes"].is_null());
        for name in ["qkv", "o", "gate_up", "down", "head"] {
            let formula = row(&profile, name)["bytes"].as_f64().unwrap();
            let ratio = sum(&profile, name, "bytes") / formula;
            assert!((1.0..2.0).contains(&ratio), "{name}: {ratio}");
        }
    }
}

#[test]
fn what_a_library_launches_has_the_name_of_its_call() {
    let profile = profile(&[&EVENTS[..], &["--phase", "prefill"]].concat(), &[]);
    let calls = &row(&profile, "qkv")["calls"];
    let [product] = kernels(&profile, "qkv").as_slice() else {
        panic!("{}", row(&profile, "qkv"));
    };
    assert_eq!(product["name"], "cublasLtMatmul");
    assert_eq!(&product["launches"], calls);
    assert!(product["us"].as_f64().unwrap() > 0.0);
    for key in [
        "grid",
        "block",
        "registers",
        "shared_bytes",
        "occupancy",
        "bytes",
    ] {
        assert!(product[key].is_null(), "{key}: {product}");
    }
    let reason = profile["not_observed"]["kernels.grid"].as_str().unwrap();
    assert!(reason.contains("library"), "{reason}");
}

/// Of a layer each of the two is one launch with the residual and the norm behind it. The embedding is added up alone, and
/// the first norm has nothing before it.
#[test]
fn sums_over_ranks_and_their_norms_are_one_launch() {
    if Gpu::count().unwrap() < 2 {
        eprintln!("SKIPPED: one GPU");
        return;
    }
    let profile = profile(&["--tp", "2", "--all-reduce", "host"], &[]);
    let layers = profile["layers"].as_u64().unwrap();
    for (operation, begin, launches) in [
        ("all_reduce_norm", "one_shot_norm_", 2 * layers),
        ("all_reduce", "one_shot_", 1),
        ("norm", "add_norm_", 1),
    ] {
        let [kernel] = kernels(&profile, operation).as_slice() else {
            panic!("{}", row(&profile, operation));
        };
        let name = kernel["name"].as_str().unwrap();
        assert!(name.starts_with(begin), "{operation}: {name}");
        assert_eq!(kernel["launches"], launches, "{kernel}");
    }
}

#[test]
fn the_trace_has_kernels_within_operations() {
    for flags in [&EVENTS[..], &[]] {
        kernels_lie_within_operations(flags);
    }
}

fn kernels_lie_within_operations(flags: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.json");
    let profile = profile(&[flags, &["--trace", path.to_str().unwrap()]].concat(), &[]);
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let mut open: Option<(f64, f64)> = None;
    let mut seen = 0;
    for event in events {
        let span = || {
            let start = event["ts"].as_f64().unwrap();
            (start, start + event["dur"].as_f64().unwrap())
        };
        match event["cat"].as_str() {
            Some("op") => open = Some(span()),
            Some("kernel") => {
                let ((start, end), (from, to)) = (span(), open.unwrap());
                // Of nanoseconds: sums of f64 are not exact.
                assert!(start >= from - 1e-4 && end <= to + 1e-4, "{event}");
                assert!(event["args"]["block"].as_u64().unwrap() >= 32, "{event}");
                seen += 1;
            }
            _ => {}
        }
    }
    let launches = rows(&profile).iter().map(|row| {
        let name = row["name"].as_str().unwrap();
        sum(&profile, name, "launches") as usize
    });
    assert_eq!(seen, 2 * launches.sum::<usize>(), "in two steps");
}

/// Each step, layer and operation opens one, and closes it.
#[test]
fn a_profiler_that_watches_is_told_of_ranges() {
    if !Gpu::is_virtual(0).unwrap() {
        eprintln!("SKIPPED: no profiler stands by");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let variables = [
        ("NVTX_INJECTION64_PATH", "libcuda.so.1"),
        ("VGPU_REPORT", report.to_str().unwrap()),
    ];
    let profile = profile(&EVENTS, &variables);
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    let ranges = report["ranges"].as_object().unwrap();
    let layers = profile["layers"].as_u64().unwrap();
    for layer in 0..layers {
        assert_eq!(ranges[&format!("layer {layer}")], 2, "{ranges:?}");
    }
    assert!(!ranges.contains_key(&format!("layer {layers}")));
    for row in rows(&profile) {
        let name = row["name"].as_str().unwrap();
        let calls = row["calls"].as_u64().unwrap();
        assert_eq!(ranges[name], 2 * calls, "{name}: {ranges:?}");
    }
    // Also those that are not timed.
    let steps = &ranges["step of 2 tokens, 2 sequences"];
    assert!(steps.as_u64().unwrap() >= 2 + 2, "{ranges:?}");
}

#[test]
fn a_profiler_that_is_not_there_changes_nothing() {
    let variables = [("NVTX_INJECTION64_PATH", "/nowhere/libinjection.so")];
    let profile = profile(&EVENTS, &variables);
    assert_eq!(profile["timed_by"], "events");
}
