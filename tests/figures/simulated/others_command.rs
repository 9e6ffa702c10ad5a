//! `bench --device sim:..` and what reads its results, of models that this program's engine does not run.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::setup::config;
use crate::cli_support::{refused, run};

/// A directory with that configuration.
fn model(name: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let text = config(name).to_string();
    fs::write(dir.path().join("config.json"), text).unwrap();
    dir
}

fn bench(dir: &TempDir, rest: &[&str]) -> Vec<String> {
    let model = dir.path().to_str().unwrap();
    let args = [
        "bench",
        "--model",
        model,
        "--concurrency",
        "4",
        "--requests",
        "8",
    ];
    let args = args.iter().chain(&["--output-len", "16"]).chain(rest);
    args.map(|arg| (*arg).to_owned()).collect()
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn assumed(results: &Value) -> String {
    let said = results["model"]["assumptions"].as_array().unwrap();
    let said: Vec<&str> = said.iter().map(|one| one.as_str().unwrap()).collect();
    said.join("\n")
}

#[test]
fn other_families_are_predicted_and_say_what_was_assumed() {
    let vllm = ["--device", "sim:h200", "--server", "vllm", "--json"];
    for (name, family, tp, parts) in [
        ("google__gemma-2-9b-it.json", "gemma2", "2", &["window"][..]),
        (
            "mistralai__Mixtral-8x7B-Instruct-v0.1.json",
            "mixtral",
            "2",
            &["experts"],
        ),
        (
            "deepseek-ai__DeepSeek-V2-Lite-Chat.json",
            "deepseek_v2",
            "2",
            &["latents", "experts"],
        ),
        (
            "openai__gpt-oss-20b.json",
            "gpt_oss",
            "1",
            &["window", "experts", "16 bits"],
        ),
        ("microsoft__phi-4.json", "phi3", "1", &["its files say"]),
        (
            "google__gemma-3-27b-it.json",
            "gemma3_text",
            "1",
            &["window", "tower"],
        ),
        (
            "RedHatAI__Meta-Llama-3.1-8B-Instruct-quantized.w8a8.json",
            "llama",
            "1",
            &["8 bits"],
        ),
    ] {
        let dir = model(name);
        let args = bench(&dir, &[&vllm[..], &["--tp", tp]].concat());
        let results = run(&words(&args)).succeeded().json();
        assert_eq!(results["kind"], "predicted", "{name}");
        assert_eq!(results["model"]["architecture"], family);
        let run = &results["runs"][0];
        assert_eq!(run["metrics"]["failed_requests"], 0, "{name}");
        let tpot = run["extended"]["mean_tpot_ms"].as_f64().unwrap();
        assert!((1.0..60.0).contains(&tpot), "{name}: {tpot} ms");
        let checks = run["checks"].as_array().unwrap();
        assert!(checks.iter().all(|check| check["ok"] == true), "{checks:?}");
        let said = assumed(&results);
        assert!(
            parts.iter().all(|part| said.contains(part)),
            "{name}: {said}"
        );
    }
}

/// Of its own models nothing but what the model of time takes for granted.
#[test]
fn own_models_assume_less() {
    let args = [
        "bench",
        "--device",
        "sim:h200",
        "--model",
        "QwQ-32B",
        "--requests",
        "1",
        "--json",
    ];
    let results = run(&args).succeeded().json();
    assert_eq!(results["model"].get("assumptions"), None);
}

#[test]
fn what_reads_results_reads_theirs() {
    let (dir, out) = (
        model("google__gemma-3-27b-it.json"),
        TempDir::new().unwrap(),
    );
    let out = out.path().join("results");
    let out = out.to_str().unwrap();
    let rest = ["--device", "sim:h100-sxm", "--server", "vllm", "--out", out];
    let shown = run(&words(&bench(&dir, &rest))).succeeded();
    assert!(
        shown.stdout.contains("assumed: its bytes and FLOPs"),
        "{}",
        shown.stdout
    );
    let summary = fs::read_to_string(format!("{out}/summary.md")).unwrap();
    assert!(summary.contains("- assumed: "), "{summary}");
    run(&["verify", out]).succeeded();
    run(&["report", out]).succeeded();
    run(&["explain", out]).succeeded();
}

#[test]
fn searches_take_them() {
    let dir = model("mistralai__Mixtral-8x7B-Instruct-v0.1.json");
    let model = dir.path().to_str().unwrap();
    let on = [
        "--model",
        model,
        "--device",
        "sim:h200",
        "--server",
        "engine",
        "--output-len",
        "8",
    ];
    let capacity = [
        &[
            "capacity",
            "--slo",
            "tpot:50",
            "--max",
            "8",
            "--no-raise",
            "--json",
        ],
        &on[..],
    ];
    let found = run(&capacity.concat()).succeeded().json();
    assert_eq!(found["kind"], "predicted");
    assert!(assumed(&found).contains("experts"));
}

/// The first layout holds by its own figures, and no command starts the own engine on such a model.
#[test]
fn the_cheapest_layout_of_them_is_timed() {
    let (mixtral, jamba) = (
        model("mistralai__Mixtral-8x7B-Instruct-v0.1.json"),
        model("ai21labs__AI21-Jamba-Mini-1.7.json"),
    );
    let asked = |dir: &TempDir| {
        let model = dir.path().to_str().unwrap();
        let of = ["fit", "--recommend", "--model", model, "--engine", "vllm"];
        let wish = [
            "--gpu",
            "h200,a100-80g",
            "--concurrency",
            "8",
            "--output-len",
            "16",
        ];
        let found = run(&[&of[..], &wish, &["--json"]].concat());
        found.succeeded().json()["layouts"][0].clone()
    };
    let first = asked(&mixtral);
    assert!(
        first["predicted"]["tpot_ms"].as_f64().unwrap() > 1.0,
        "{first}"
    );
    let command = &first["command"];
    assert!(command["candlepower"].is_null(), "{command}");
    let line = command["simulated"].as_str().unwrap();
    assert!(line.contains("--server vllm"), "{line}");
    // Room alone is told of what has no time.
    let first = asked(&jamba);
    assert!(first["predicted"].is_null() && first["command"]["simulated"].is_null());
}

#[test]
fn what_has_no_time_is_refused_with_the_way_out() {
    let served = ["--device", "sim:h200", "--server", "vllm"];
    let gemma = model("google__gemma-2-9b-it.json");
    refused(
        &words(&bench(&gemma, &["--device", "sim:h200"])),
        &["Gemma2", "--server engine"],
    );
    let here = ["--device", "cpu", "--dummy-weights"];
    refused(&words(&bench(&gemma, &here)), &["Gemma2"]);
    let jamba = model("ai21labs__AI21-Jamba-Mini-1.7.json");
    let parts = ["28 of its 32 layers", "candlepower fit"];
    refused(&words(&bench(&jamba, &served)), &parts);
    let dir = TempDir::new().unwrap();
    let mut unknown = config("google__gemma-2-9b-it.json");
    unknown["model_type"] = json!("gemma99");
    unknown["architectures"] = json!(["Gemma99ForCausalLM"]);
    fs::write(dir.path().join("config.json"), unknown.to_string()).unwrap();
    refused(&words(&bench(&dir, &served)), &["gemma99", "headers"]);
}
