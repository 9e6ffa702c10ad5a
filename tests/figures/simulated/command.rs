//! `bench --device sim:..` as its users run it.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::cli_support::{Outcome, fixture, refused, run};

fn bench(device: &str, rest: &[&str]) -> Outcome {
    let args: Vec<&str> = ["bench", "--device", device]
        .iter()
        .chain(rest)
        .copied()
        .collect();
    run(&args)
}

#[test]
fn a_prediction_has_the_whole_metric_set() {
    let args = [
        "--tp",
        "2",
        "--model",
        "QwQ-32B",
        "--scenario",
        "c50",
        "--json",
    ];
    let results = bench("sim:rtx4090-48g", &args).succeeded().json();
    assert_eq!(results["kind"], "predicted");
    let hardware = &results["hardware"];
    assert_eq!(hardware["device"], "sim:rtx4090-48g");
    assert_eq!(hardware["count"], 2);
    assert_eq!(hardware["memory_gib"], 47.37);
    assert_eq!(hardware["roofs"]["read_bytes_per_s"], 2.0 * 1008e9);
    assert!(results["engine"]["server"].is_null());
    assert_eq!(results["engine"]["ranks"].as_array().unwrap().len(), 2);
    let start_up = &results["start_up"];
    for part in ["total_s", "load_s", "upload_s", "warm_up_s", "capture_s"] {
        let reason = &start_up["not_observed"][part];
        assert!(start_up[part].is_null() && reason.is_string(), "{start_up}");
    }
    let run = &results["runs"][0];
    let reasons = run["not_observed"].as_object().unwrap();
    for (set, must) in [("metrics", 25), ("extended", 70)] {
        let mut there = 0;
        for (name, value) in run[set].as_object().unwrap() {
            match value.is_null() {
                true => assert!(
                    reasons.contains_key(name),
                    "{name} is null without a reason"
                ),
                false => there += 1,
            }
        }
        assert!(there >= must, "{set}: {there}");
    }
    for name in [
        "cpu_percent",
        "ram_percent",
        "avg_gpu_power_watts",
        "peak_rss_bytes",
    ] {
        assert_eq!(
            reasons[name],
            "nothing was measured: the device is simulated"
        );
    }
    assert!(reasons.contains_key("mean_host_ms_per_step"));
    let checks = run["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    assert_eq!(run["metrics"]["total_tokens_generated"], 200 * 601);
    // The report's own rows stand beside it.
    assert!(!results["references"].as_array().unwrap().is_empty());
}

#[test]
fn an_engine_is_slower_than_raw_capacity_and_a_server_shows_its_host() {
    let run = |server| {
        let args = [
            "--model",
            "DeepSeek-R1-Distill-Llama-8B",
            "--scenario",
            "c50",
            "--server",
            server,
            "--json",
        ];
        bench("sim:l40s", &args).succeeded().json()
    };
    let [raw, engine, served] = ["none", "engine", "vllm"].map(run);
    assert_eq!(engine["engine"]["server"], "engine");
    assert_eq!(served["engine"]["server"], "vllm");
    let rate = |results: &Value| {
        let rate = &results["runs"][0]["metrics"]["output_tokens_per_sec"];
        rate.as_f64().unwrap()
    };
    assert!(rate(&raw) > rate(&engine) && rate(&engine) > rate(&served));
    let extended = &served["runs"][0]["extended"];
    assert!(extended["mean_host_ms_per_step"].as_f64().unwrap() > 1.0);
}

#[test]
fn the_table_says_that_it_is_predicted() {
    let args = ["--model", "Qwen3-0.6B", "--server", "vllm"];
    let more = ["--dtype", "f16", "--format", "full"];
    let outcome = bench("sim:t4", &[&args[..], &more].concat()).succeeded();
    assert!(
        outcome
            .stdout
            .contains("predicted: in virtual time, behind vllm")
    );
    let offline = bench(
        "sim:t4",
        &[&["--server", "engine"], &args[..2], &more].concat(),
    );
    let words = "predicted: in virtual time, an engine's own loop, no server";
    assert!(offline.succeeded().stdout.contains(words));
    assert!(outcome.stdout.contains("NVIDIA T4"));
    assert!(!outcome.stdout.contains("measured,"), "{}", outcome.stdout);
}

/// Every row of the report, by its machine, in one page.
#[test]
fn the_page_of_what_the_server_cost_has_every_row() {
    let mut rows = 0;
    for (device, expected) in [("sim:rtx4090-48g", 19), ("sim:a100-80g", 6)] {
        let outcome = bench(device, &["--format", "markdown"]).succeeded();
        let (_, page) = outcome.stdout.split_once("# What the server cost").unwrap();
        let machine = format!("| {}", device.strip_prefix("sim:").unwrap());
        let found: Vec<&str> = page.lines().filter(|l| l.starts_with(&machine)).collect();
        assert_eq!(found.len(), expected, "{page}");
        rows += found.len();
        for line in found {
            assert_eq!(line.matches('|').count(), 9, "{line}");
        }
    }
    assert_eq!(rows, 25);
}

#[test]
fn a_page_of_one_model_is_written_beside_its_results() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().to_str().unwrap();
    let model = "DeepSeek-R1-Distill-Llama-70B";
    let args = [
        "--tp",
        "8",
        "--model",
        model,
        "--scenario",
        "all",
        "--out",
        out,
        "--quiet",
    ];
    bench("sim:rtx4090-48g", &args).succeeded();
    let page = fs::read_to_string(dir.path().join("server.md")).unwrap();
    let rows: Vec<&str> = page
        .lines()
        .filter(|l| l.starts_with("| rtx4090"))
        .collect();
    assert_eq!(rows.len(), 4, "{page}");
    let ratio = |row: &str| {
        let cell = row.split('|').nth(7).unwrap().trim();
        cell.strip_suffix('x')
            .map(|ratio| ratio.parse::<f64>().unwrap())
    };
    let (played, failed) = rows.split_at(3);
    assert!(ratio(played[0]).unwrap() > 1.0, "{page}");
    // Loads are sums between the cards, and those rest on the rate of a host that is not known.
    let loaded = |row| (0.5..2.0).contains(&ratio(row).unwrap());
    assert!(played[1..].iter().all(|row| loaded(row)), "{page}");
    assert_eq!(ratio(failed[0]), None);
    assert!(page.contains("timed out"), "{page}");
    for file in [
        "results.json",
        "requests.jsonl",
        "steps.jsonl",
        "summary.md",
        "telemetry.csv",
    ] {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    for (device, rest, parts) in [
        (
            "sim:h100",
            &[][..],
            &["sim:h100", "h100-sxm", "candlepower gpus"][..],
        ),
        ("sim:", &[], &["candlepower gpus"]),
        (
            "sim:l4",
            &["--model", "QwQ-32B"],
            &["QwQ-32B", "NVIDIA L4", "candlepower fit"],
        ),
        ("sim:l4", &["--stop-at-eos"], &["--stop-at-eos"]),
        ("sim:l4", &["--tp", "3"], &["--tp 3"]),
        (
            "cpu",
            &["--server", "vllm"],
            &["--server vllm", "sim:<gpu>"],
        ),
    ] {
        let args: Vec<&str> = ["bench", "--device", device]
            .iter()
            .chain(rest)
            .copied()
            .collect();
        refused(&args, parts);
    }
    let args = ["generate", "--device", "sim:l4", "--prompt-ids", "1"];
    refused(&args, &["sim:l4", "use bench"]);
}

#[test]
fn a_card_of_ones_own_and_fp8_experts_run() {
    let dir = TempDir::new().unwrap();
    let card = dir.path().join("mine.toml");
    let text = "compute_capability = \"9.0\"\nmemory_gib = 100\nbandwidth_gb_s = 3000\nfp16_tflops = 900\nfp8_tflops = 1800\np2p = true\n";
    fs::write(&card, text).unwrap();
    let device = format!("sim:{}", card.display());
    let model = "Qwen3-235B-A22B-FP8";
    let args = ["--tp", "4", "--expert-parallel", "--model", model, "--json"];
    let results = bench(&device, &args).succeeded().json();
    assert_eq!(results["model"]["quantization"], "fp8");
    assert_eq!(results["engine"]["expert_parallel"], true);
    assert_eq!(results["runs"][0]["metrics"]["failed_requests"], 0);
}

/// Which requests run in which step, and with how many tokens and blocks, is the scheduler's doing alone.
#[test]
fn a_real_run_and_a_simulated_one_decide_alike() {
    let decisions = |device: &str| {
        let dir = TempDir::new().unwrap();
        let model = fixture("llama-tiny");
        let out = dir.path().to_str().unwrap();
        let args = [
            "--model",
            &model,
            "--dummy-weights",
            "--concurrency",
            "12",
            "--requests",
            "40",
            "--input-len",
            "40",
            "--output-len",
            "24",
            "--max-num-seqs",
            "8",
            "--max-num-batched-tokens",
            "64",
            "--kv-cache-memory",
            "128K",
            "--block-size",
            "4",
            "--seed",
            "3",
            "--out",
            out,
            "--quiet",
        ];
        bench(device, &args).succeeded();
        let steps = fs::read_to_string(dir.path().join("steps.jsonl")).unwrap();
        let decision = |line: &str| {
            let step: Value = serde_json::from_str(line).unwrap();
            let names = [
                "step",
                "running",
                "waiting",
                "scheduled",
                "prefill_tokens",
                "decode_tokens",
                "output_tokens",
                "preempted",
                "kv_blocks_used",
                "kv_blocks_total",
            ];
            names.map(|name| step[name].as_u64().unwrap())
        };
        steps.lines().map(decision).collect::<Vec<_>>()
    };
    let (real, simulated) = (decisions("cpu"), decisions("sim:h100-sxm"));
    assert!(real.iter().any(|step| step[7] > 0), "nothing was preempted");
    assert!(real.len() > 100, "{} steps", real.len());
    assert_eq!(real, simulated);
}
