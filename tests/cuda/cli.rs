//! The program on GPUs, as its users run it.

use std::process::Command;

use candlepower::ops::cuda::Gpu;

use crate::cli_support::{Outcome, command, fixture};
use crate::common::golden::Golden;

/// The program with virtual GPUs as a configuration describes them; `None` on a machine with real ones.
pub struct Machine {
    config: tempfile::TempDir,
}

impl Machine {
    pub fn new(config: &str) -> Option<Self> {
        if !Gpu::is_virtual(0).unwrap() {
            eprintln!("SKIPPED: only a virtual GPU can be given limits and faults");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("vgpu.toml"), config).unwrap();
        Some(Self { config: dir })
    }

    /// A file that lives as long as this.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.config.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command
            .env("VGPU_CONFIG", self.path("vgpu.toml"))
            .env_remove("VGPU_DEVICES");
        command
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        Outcome::of(self.command(args).output().unwrap())
    }
}

fn joined(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// All golden prompts of a fixture in one batch, with `flags`.
fn generate(name: &str, flags: &[&str]) -> Outcome {
    let golden = Golden::read(name);
    let model = fixture(name);
    let mut args = vec!["generate", "--model", &model, "--dtype", "f32"];
    args.extend([
        "--json",
        "--max-tokens",
        "32",
        "--ignore-eos",
        "--max-num-seqs",
        "8",
    ]);
    args.extend([
        "--max-num-batched-tokens",
        "64",
        "--kv-cache-memory",
        "4M",
        "--max-model-len",
        "256",
    ]);
    let prompts: Vec<String> = golden.prompts.iter().map(|ids| joined(ids)).collect();
    for ids in &prompts {
        args.extend(["--prompt-ids", ids]);
    }
    args.extend(flags);
    Outcome::of(command(&args).output().unwrap())
}

fn tokens(outcome: Outcome) -> Vec<Vec<u32>> {
    let answers = outcome.succeeded().json();
    let answers = answers.as_array().unwrap().iter();
    let ids = answers.map(|answer| serde_json::from_value(answer["token_ids"].clone()).unwrap());
    ids.collect()
}

#[test]
fn generate_is_golden_with_graphs_and_without() {
    for name in ["qwen2-tiny", "qwen3-moe-tiny"] {
        let golden = Golden::read(name).greedy;
        assert_eq!(
            tokens(generate(name, &["--device", "cuda"])),
            golden,
            "{name}"
        );
        assert_eq!(
            tokens(generate(name, &["--device", "cuda", "--no-cuda-graphs"])),
            golden,
            "{name}"
        );
    }
}

#[test]
fn sampled_tokens_are_those_of_the_cpu() {
    let flags = [
        "--kv-cache-dtype",
        "f32",
        "--temperature",
        "0.8",
        "--top-k",
        "20",
        "--top-p",
        "0.9",
        "--logprobs",
        "2",
    ];
    let cpu = [&flags[..], &["--device", "cpu"]].concat();
    let gpu = [&flags[..], &["--device", "cuda"]].concat();
    assert_eq!(
        tokens(generate("qwen3-tiny", &gpu)),
        tokens(generate("qwen3-tiny", &cpu))
    );
}

/// Real weights: SmolLM2-135M, as `scripts/fetch-smollm2` lays it out, in its own bf16.
#[test]
fn the_capital_of_france() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/target/smollm2-135m");
    let mut args = vec!["generate", "--model", model, "--device", "cuda"];
    args.extend(["--prompt", "The capital of France is", "--max-tokens", "4"]);
    // The warm-up runs the largest steps: small ones suffice here, and a virtual GPU is slow.
    args.extend(["--max-num-batched-tokens", "16", "--max-num-seqs", "1"]);
    args.extend(["--max-model-len", "64", "--kv-cache-memory", "64M"]);
    let outcome = Outcome::of(command(&args).output().unwrap()).succeeded();
    let text = outcome.stdout.trim_start();
    assert!(text.starts_with("Paris"), "{text:?}");
}

#[test]
fn more_ranks_than_gpus_are_refused() {
    let outcome = generate("qwen2-tiny", &["--device", "cuda", "--tp", "64"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(
        outcome.stderr.contains("--tp 64 needs as many GPUs"),
        "{outcome:?}"
    );
}

/// A short load on a tiny model.
pub const BENCH: [&str; 15] = [
    "bench",
    "--device",
    "cuda",
    "--concurrency",
    "1,4",
    "--requests",
    "1,6",
    "--input-len",
    "20",
    "--output-len",
    "12",
    "--max-num-seqs",
    "4",
    "--max-num-batched-tokens",
    "64",
];

#[test]
fn bench_fills_the_whole_metric_set() {
    let Some(machine) = Machine::new(
        "[[device]]\nname = \"NVIDIA GeForce RTX 4090\"\n[device.telemetry]\npower_watts = [180.0, 320.0]\n",
    ) else {
        return;
    };
    let model = fixture("qwen2-tiny");
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("run");
    let args = [
        &BENCH[..],
        &["--model", &model, "--json", "--out", dir.to_str().unwrap()],
    ];
    let results = machine.run(&args.concat()).succeeded().json();
    assert_eq!(results["kind"], "virtual");
    assert_eq!(results["hardware"]["device"], "cuda");
    assert_eq!(results["hardware"]["name"], "NVIDIA GeForce RTX 4090");
    assert_eq!(results["engine"]["ranks"][0]["device"], "cuda:0");
    assert!(results["engine"]["num_kv_blocks"].as_u64().unwrap() > 1000);
    let start_up = &results["start_up"];
    let seconds = |part: &str| start_up[part].as_f64().unwrap();
    let parts = ["load_s", "upload_s", "warm_up_s", "capture_s"].map(seconds);
    assert!(parts.iter().all(|&part| part > 0.0), "{start_up}");
    assert!(
        parts.iter().sum::<f64>() <= seconds("total_s"),
        "{start_up}"
    );
    assert_eq!(start_up["not_observed"], serde_json::json!({}));
    for run in results["runs"].as_array().unwrap() {
        let metrics = run["metrics"].as_object().unwrap();
        assert_eq!(metrics["success_rate"], 100.0);
        let power = metrics["avg_gpu_power_watts"].as_f64().unwrap();
        assert!((180.0..=320.0).contains(&power), "{power}");
        for name in [
            "avg_gpu_mem_percent",
            "avg_gpu_temp_C",
            "avg_gpu_clock_gr_mhz",
        ] {
            assert!(
                metrics[name].as_f64().is_some_and(|v| v > 0.0),
                "{name}: {run}"
            );
        }
        assert_eq!(run["gpus"][0]["other_processes"], 0);
        // Every null has its reason.
        let not_observed = run["not_observed"].as_object().unwrap();
        for (name, value) in metrics {
            assert_eq!(value.is_null(), not_observed.contains_key(name), "{name}");
        }
    }
    for file in [
        "results.json",
        "requests.jsonl",
        "steps.jsonl",
        "telemetry.csv",
        "summary.md",
    ] {
        assert!(dir.join(file).metadata().unwrap().len() > 0, "{file}");
    }
}

#[test]
fn a_gpu_that_fails_in_a_run_gives_a_partial_result_and_an_error() {
    let Some(machine) = Machine::new("[[fault]]\nkind = \"ecc-error\"\ndevice = 0\nat = 700\n")
    else {
        return;
    };
    let model = fixture("qwen2-tiny");
    let args = [
        &BENCH[..],
        &["--model", &model, "--json", "--no-cuda-graphs"],
    ]
    .concat();
    let outcome = machine.run(&args);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("ECC"), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
}

/// The check before loading saw room, and the driver has none all the same.
#[test]
fn a_card_that_runs_out_while_it_loads_is_told_with_the_ledger() {
    let Some(machine) = Machine::new("[[fault]]\nkind = \"out-of-memory\"\nat = 12\n") else {
        return;
    };
    let model = fixture("qwen2-tiny");
    let outcome = machine.run(&[&BENCH[..], &["--model", &model]].concat());
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for told in [
        "CUDA ran out of memory loading the weights of",
        "on NVIDIA GeForce RTX 4090, which had",
        "by the ledger",
    ] {
        assert!(outcome.stderr.contains(told), "{outcome:?}");
    }
}

/// A card on which the model fits, but not with what is asked beside it; and one on which it cannot fit.
#[test]
fn what_a_card_cannot_hold_is_refused_with_a_way_out() {
    let Some(machine) = Machine::new("[[device]]\nname = \"small\"\nmemory_gib = 2.0\n") else {
        return;
    };
    let model = [
        "--device",
        "cuda",
        "--model",
        "DeepSeek-R1-Distill-Llama-8B",
    ];
    let outcome = machine.run(&[&["bench"][..], &model].concat());
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
    let line = outcome.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("error: "), "{outcome:?}");
    assert!(line.contains("GiB"), "{outcome:?}");
}
