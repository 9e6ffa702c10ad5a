//! `profile` through the program: what it prints and writes.

use candlepower::profile::Profile;
use serde_json::Value;
use tempfile::TempDir;

use crate::cli_support::{fixture, run};

/// Steps and their parts are timed by the same clock: what is left is rounding.
const ADDS_UP: f64 = 0.03;

pub fn profile(model: &str, more: &[&str]) -> Value {
    let model = fixture(model);
    let args = [&["profile", "--model", &model, "--json"], more].concat();
    run(&args).succeeded().json()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn op<'a>(profile: &'a Value, name: &str) -> &'a Value {
    let ops = profile["ops"].as_array().unwrap();
    let found = ops.iter().find(|op| op["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {profile}"))
}

/// What every profile must be, whatever ran.
fn check(profile: &Value) {
    let schema = jsonschema::validator_for(&Profile::schema()).unwrap();
    if let Err(error) = schema.validate(profile) {
        panic!("{error}: {profile}");
    }
    let step = number(&profile["step_us"]);
    assert!(step > 0.0);
    for key in ["read_gb_s", "gflop_s"] {
        assert!(number(&profile["roofs"][key]) > 0.0);
    }
    let ops = profile["ops"].as_array().unwrap();
    let mut sum = number(&profile["host_us"]);
    let mut shares = number(&profile["host_share"]);
    for op in ops {
        let us = number(&op["us"]);
        sum += us;
        shares += number(&op["share"]);
        assert!(op["calls"].as_u64().unwrap() > 0 && us > 0.0, "{op}");
        let rate = number(&op["bytes"]) / us / 1e3;
        assert!((number(&op["gb_s"]) / rate - 1.0).abs() < 1e-9, "{op}");
        assert!(["memory", "compute", "latency"].contains(&op["bound"].as_str().unwrap()));
        let gap = number(&op["us"]) - number(&op["floor_us"]);
        assert!((number(&op["gap_us"]) - gap).abs() < 1e-6, "{op}");
    }
    assert!((sum / step - 1.0).abs() < ADDS_UP, "{sum} of {step}");
    assert!((shares - 1.0).abs() < ADDS_UP, "{shares}");
    for (name, count) in profile["counters"].as_object().unwrap() {
        let reason = &profile["not_observed"][format!("counters.{name}")];
        assert_eq!(count.is_null(), reason.is_string(), "{name}: {profile}");
    }
}

#[test]
fn the_json_is_the_contract() {
    let args = ["--batch", "3", "--context", "40", "--steps", "5"];
    let profile = profile("llama-tiny", &args);
    check(&profile);
    assert_eq!(profile["kind"], "measured");
    assert_eq!(profile["device"], "cpu");
    assert_eq!(
        (&profile["steps"], &profile["rows"]),
        (&5.into(), &3.into())
    );
    assert_eq!(profile["phase"], "decode");
    assert_eq!(
        (&profile["batch"], &profile["context"]),
        (&3.into(), &40.into())
    );
    let tokens = 3e6 / number(&profile["step_us"]);
    assert!((number(&profile["tokens_per_s"]) / tokens - 1.0).abs() < 1e-9);
    // Three layers; behind the last one a norm more.
    for name in [
        "qkv", "write_kv", "attend", "o", "gate_up", "silu_mul", "down",
    ] {
        assert_eq!(op(&profile, name)["calls"], 3, "{name}");
    }
    assert_eq!(op(&profile, "norm")["calls"], 7);
    assert_eq!(op(&profile, "head")["calls"], 1);
    // 3 rows x 128 x (8 + 2 x 2) heads of 16, a multiply-add each, in 3 layers.
    assert_eq!(op(&profile, "qkv")["flops"], 2 * 3 * 128 * 12 * 16 * 3);
    assert!(op(&profile, "qkv")["ranks_us"].is_null());
    assert_eq!(profile["ranks"], Value::Array(Vec::new()));
    assert!(profile["whole_model"].is_null());
    assert_eq!(profile["not_observed"]["whole_model"], "all layers ran");
    assert_eq!(profile["timed_by"], "clock");
    assert!(op(&profile, "qkv")["kernels"].is_null());
    assert!(profile["not_observed"]["kernels"].is_string());
}

#[test]
fn prefill_computes_the_whole_prompt() {
    let args = [
        "--phase",
        "prefill",
        "--batch",
        "2",
        "--context",
        "30",
        "--steps",
        "2",
    ];
    let profile = profile("qwen3-tiny", &args);
    check(&profile);
    assert_eq!(profile["rows"], 60);
    // The last layer goes on with the two rows that need logits.
    assert_eq!(op(&profile, "gather")["calls"], 1);
}

#[test]
fn ranks_stand_beside_each_other() {
    let args = [
        "--tp",
        "2",
        "--batch",
        "4",
        "--context",
        "20",
        "--steps",
        "4",
    ];
    let profile = profile("llama-tiny", &args);
    check(&profile);
    assert_eq!(profile["tp"], 2);
    let all_reduce = op(&profile, "all_reduce");
    // Behind the embedding, and twice in each layer.
    assert_eq!(all_reduce["calls"], 7);
    let wait = number(&all_reduce["wait_us"]);
    assert!(wait >= 0.0 && wait <= number(&all_reduce["us"]));
    for op in profile["ops"].as_array().unwrap() {
        let range = op["ranks_us"].as_array().unwrap();
        let (fastest, slowest) = (number(&range[0]), number(&range[1]));
        let us = number(&op["us"]);
        assert!(
            fastest <= us * 1.000_001 && us <= slowest * 1.000_001,
            "{op}"
        );
    }
    let ranks = profile["ranks"].as_array().unwrap();
    assert_eq!(ranks.len(), 2);
    for rank in ranks {
        let [busy, exchange, wait] =
            ["busy_us", "exchange_us", "wait_us"].map(|key| number(&rank[key]));
        assert!(wait <= exchange && exchange <= busy, "{rank}");
    }
}

#[test]
fn a_slice_is_worked_out_to_the_whole_model() {
    let args = [
        "--layers",
        "2",
        "--batch",
        "2",
        "--context",
        "20",
        "--steps",
        "3",
    ];
    let profile = profile("llama-tiny", &args);
    check(&profile);
    assert_eq!(
        (&profile["layers"], &profile["model_layers"]),
        (&2.into(), &3.into())
    );
    let whole = &profile["whole_model"];
    assert_eq!(whole["layers"], 3);
    assert!(number(&whole["step_us"]) > number(&profile["step_us"]));
    assert_eq!(op(whole, "qkv")["calls"], 3);
    assert_eq!(op(whole, "head")["calls"], 1);
    assert!(
        !profile["not_observed"]
            .as_object()
            .unwrap()
            .contains_key("whole_model")
    );
}

#[test]
fn a_simulated_device_is_profiled_in_virtual_time() {
    let args = [
        "profile",
        "--json",
        "--model",
        "QwQ-32B",
        "--device",
        "sim:rtx4090-48g",
        "--tp",
        "2",
        "--batch",
        "50",
        "--context",
        "400",
        "--steps",
        "2",
    ];
    let profile = run(&args).succeeded().json();
    check(&profile);
    assert_eq!(profile["kind"], "predicted");
    assert_eq!(profile["device"], "sim:rtx4090-48g");
    assert_eq!(number(&profile["host_us"]), 0.0, "a card alone");
    assert_eq!(op(&profile, "gate_up")["calls"], 64);
    let [fastest, slowest] = [0, 1].map(|end| number(&profile["step_us_range"][end]));
    assert!((slowest / fastest - 1.0).abs() < 1e-6);
    let text = run(&args[..1]
        .iter()
        .chain(&args[2..])
        .copied()
        .collect::<Vec<_>>())
    .succeeded()
    .stdout;
    assert!(
        text.contains("predicted: decode, batch 50") && text.contains("roofs of the data sheet")
    );
}

#[test]
fn a_sweep_is_an_array_a_csv_and_a_plot() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (csv, svg, html) = (path("ops.csv"), path("roofs.svg"), path("roofs.html"));
    let sweep = ["--batch", "1,4", "--context", "16,40", "--steps", "2"];
    let files = ["--csv", &csv, "--plot", &svg];
    let profiles = profile("qwen2-tiny", &[&sweep[..], &files].concat());
    let profiles = profiles.as_array().unwrap();
    let loads: Vec<_> = profiles
        .iter()
        .map(|p| (p["batch"].as_u64(), p["context"].as_u64()))
        .collect();
    let expected = [(1, 16), (4, 16), (1, 40), (4, 40)];
    assert_eq!(
        loads,
        expected.map(|(batch, context)| (Some(batch), Some(context)))
    );
    profiles.iter().for_each(check);

    let csv = std::fs::read_to_string(csv).unwrap();
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let column = |name: &str| head.iter().position(|cell| *cell == name).unwrap();
    let rows: Vec<_> = lines.collect();
    let ops = |profile: &Value| profile["ops"].as_array().unwrap().len();
    let expected: usize = profiles.iter().map(|profile| ops(profile) + 2).sum();
    assert_eq!(rows.len(), expected);
    assert!(rows.iter().all(|row| row.len() == head.len()), "{csv}");
    let steps = rows.iter().filter(|row| row[column("name")] == "step");
    for (row, profile) in steps.zip(profiles) {
        let us: f64 = row[column("us")].parse().unwrap();
        assert_eq!(us, number(&profile["step_us"]));
        let fraction: f64 = row[column("roof_fraction")].parse().unwrap();
        assert_eq!(fraction, number(&profile["totals"]["roof_fraction"]));
    }

    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    let computing = |profile: &Value| {
        let ops = profile["ops"].as_array().unwrap().iter();
        ops.filter(|op| op["flops"] != 0).count()
    };
    let circles: usize = profiles.iter().map(computing).sum();
    // And one each in the legend.
    assert_eq!(svg.matches("<circle").count(), circles + profiles.len());
    assert_eq!(svg.matches("<polyline").count(), 1, "the roofs");
    assert!(!svg.contains("NaN") && !svg.contains("inf"));

    let model = fixture("qwen2-tiny");
    let args = [&["profile", "--model", &model, "--plot", &html], &sweep[..]].concat();
    let text = run(&args).succeeded().stdout;
    let page = std::fs::read_to_string(html).unwrap();
    assert!(
        page.starts_with("<!doctype html>") && page.contains("<svg ") && page.contains("<pre>")
    );
    // Each table, and one line a load below them.
    assert_eq!(text.matches("measured: decode").count(), 4);
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with("decode "))
            .count(),
        4
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn the_table_says_where_the_time_goes() {
    let model = fixture("llama-tiny");
    let args = [
        "profile",
        "--model",
        &model,
        "--context",
        "20",
        "--steps",
        "2",
        "--tp",
        "2",
    ];
    let text = run(&args).succeeded().stdout;
    for part in [
        "gate_up",
        "host",
        "step",
        "roofs of this run",
        "widest gap",
        "rank 1: busy",
        "rank 0 waits",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
