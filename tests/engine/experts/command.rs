//! What `bench` says of experts and FP8.

use serde_json::Value;
use tempfile::TempDir;

use crate::cli_support::{fixture, run};

fn bench(model: &str, more: &[&str]) -> Value {
    let args = ["bench", "--model", model, "--json", "--quiet"];
    let load = ["--concurrency", "3", "--requests", "6", "--output-len", "9"];
    run(&[&args[..], &load, more].concat()).succeeded().json()
}

#[test]
fn the_load_of_experts_is_told_and_can_be_added_up() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let model = fixture("qwen3-moe-tiny");
    let results = bench(&model, &["--out", out.to_str().unwrap(), "--tp", "2"]);
    let extended = &results["runs"][0]["extended"];
    let lines = std::fs::read_to_string(out.join("experts.jsonl")).unwrap();
    let layers: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(layers.len(), 3);
    let mut imbalances = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        assert_eq!(layer["layer"], index);
        let tokens: Vec<u64> = serde_json::from_value(layer["tokens"].clone()).unwrap();
        assert_eq!(tokens.len(), 8);
        // Prompts, and all output tokens but each request's last; two experts each. Of the last layer, only rows
        // that draw a token.
        let rows = if index == 2 { 6 * 9 } else { 6 * (100 + 8) };
        assert_eq!(tokens.iter().sum::<u64>(), 2 * rows, "layer {index}");
        let max = *tokens.iter().max().unwrap() as f64;
        imbalances.push(max * 8.0 / (2 * rows) as f64);
    }
    let near = |name: &str, want: f64| {
        let found = extended[name].as_f64().unwrap();
        assert!((found - want).abs() < 1e-9, "{name}: {found} {want}");
    };
    near(
        "mean_expert_imbalance",
        imbalances.iter().sum::<f64>() / 3.0,
    );
    near(
        "max_expert_imbalance",
        imbalances.iter().copied().fold(0.0, f64::max),
    );
}

#[test]
fn a_dense_model_has_no_such_load() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let results = bench(
        &fixture("qwen3-fp8-tiny"),
        &["--out", out.to_str().unwrap()],
    );
    let run = &results["runs"][0];
    for name in ["mean_expert_imbalance", "max_expert_imbalance"] {
        assert!(run["extended"][name].is_null());
        let reason = run["not_observed"][name].as_str().unwrap();
        assert!(reason.contains("dense model"), "{reason}");
    }
    assert!(!out.join("experts.jsonl").exists());
}

#[test]
fn settings_name_what_was_asked_for() {
    let engine = |model: &str, more: &[&str]| bench(&fixture(model), more)["engine"].clone();
    let plain = engine("qwen3-moe-fp8-tiny", &[]);
    assert_eq!(plain["activation_scheme"], "weight-only");
    assert_eq!(plain["expert_parallel"], false);
    let flags = ["--activation-scheme", "dynamic", "--kv-cache-dtype", "fp8"];
    let all = engine(
        "qwen3-moe-fp8-tiny",
        &[&flags[..], &["--tp", "2", "--expert-parallel"]].concat(),
    );
    assert_eq!(all["activation_scheme"], "dynamic");
    assert_eq!(all["kv_cache_dtype"], "fp8");
    assert_eq!(all["expert_parallel"], true);
    assert!(engine("qwen3-moe-tiny", &[])["activation_scheme"].is_null());
    // One byte a number: twice the tokens of bf16 in the same memory.
    let blocks = |kv: &str| {
        let memory = ["--kv-cache-memory", "16M", "--kv-cache-dtype", kv];
        engine("qwen3-tiny", &memory)["num_kv_blocks"]
            .as_u64()
            .unwrap()
            + 1
    };
    assert_eq!(blocks("fp8"), 2 * blocks("bf16"));
}

#[test]
fn the_table_says_what_ran() {
    let model = fixture("qwen3-moe-fp8-tiny");
    let args = ["bench", "--model", &model, "--quiet", "--requests", "1"];
    let load = ["--concurrency", "1", "--output-len", "2", "--tp", "2"];
    let load = [&load[..], &["--format", "full"]].concat();
    // In one line: where it is broken depends on how long the model's path is.
    let table = |more: &[&str]| {
        let table = run(&[&args[..], &load, more].concat()).succeeded().stdout;
        table.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let plain = table(&[]);
    assert!(
        plain.contains("checkpoint in fp8 and bf16)") && plain.contains("tp 2, seed"),
        "{plain}"
    );
    let more = table(&[
        "--expert-parallel",
        "--activation-scheme",
        "dynamic",
        "--kv-cache-dtype",
        "fp8",
    ]);
    for words in [
        "fp8 (activations too) and bf16",
        "tp 2 with whole experts",
        "tokens in fp8",
    ] {
        assert!(more.contains(words), "{more}");
    }
}
