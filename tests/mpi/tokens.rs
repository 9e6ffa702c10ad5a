//! What an MPI job computes: the golden tokens, and the bits of ranks as threads.

use serde::Deserialize;
use tempfile::TempDir;

use super::job::{mpirun, run};
use crate::cli_support::{self, fixture};

/// Every fixture of a dense model at every split that its heads allow.
pub const SPLITS: [(&str, usize); 9] = [
    ("qwen2-tiny", 2),
    ("qwen2-tiny", 4),
    ("qwen2-tiny", 8),
    ("llama-tiny", 2),
    ("llama-tiny", 4),
    ("llama-tiny", 8),
    ("llama-tied-tiny", 3),
    ("qwen3-tiny", 2),
    ("qwen3-tiny", 4),
];

#[derive(Deserialize)]
pub struct Golden {
    prompts: Vec<Vec<u32>>,
    greedy: Vec<Vec<u32>>,
}

impl Golden {
    pub fn read(name: &str) -> Self {
        let text = std::fs::read(format!("{}/golden.json", fixture(name))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Of the first prompts the first tokens.
    #[cfg(feature = "nccl")]
    pub fn first(mut self, prompts: usize, tokens: usize) -> Self {
        self.prompts.truncate(prompts);
        self.greedy.truncate(prompts);
        self.greedy
            .iter_mut()
            .for_each(|greedy| greedy.truncate(tokens));
        self
    }

    /// `generate` of all prompts in one batch.
    pub fn command(&self, name: &str, tp: usize) -> Vec<String> {
        let mut args = generate(name, tp, self.greedy[0].len());
        for prompt in &self.prompts {
            args.extend(["--prompt-ids".to_owned(), listed(prompt)]);
        }
        args
    }

    pub fn check(&self, outcome: cli_support::Outcome) {
        let json = outcome.succeeded().json();
        let answers = json.as_array().unwrap();
        assert_eq!(answers.len(), self.greedy.len());
        for (answer, expected) in answers.iter().zip(&self.greedy) {
            let ids: Vec<u32> = serde_json::from_value(answer["token_ids"].clone()).unwrap();
            assert_eq!(ids, *expected);
        }
    }
}

fn generate(name: &str, tp: usize, tokens: usize) -> Vec<String> {
    let (tp, tokens) = (tp.to_string(), tokens.to_string());
    let args = [
        "generate",
        "--model",
        &fixture(name),
        "--json",
        "--ignore-eos",
    ];
    let args = [&args[..], &["--tp", &tp, "--max-tokens", &tokens]].concat();
    args.into_iter().map(str::to_owned).collect()
}

fn listed(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(",")
}

pub fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn golden_tokens_at_every_split() {
    for (name, tp) in SPLITS {
        let golden = Golden::read(name);
        golden.check(run(mpirun(tp, &words(&golden.command(name, tp)))));
    }
}

/// Of experts by columns and whole, and of FP8. Their margins are those of an f32 cache.
#[test]
fn golden_tokens_of_experts_and_fp8() {
    for (name, tp, more) in [
        ("qwen3-moe-tiny", 2, &[][..]),
        ("qwen3-moe-tiny", 4, &["--expert-parallel"]),
        ("qwen3-fp8-tiny", 2, &[]),
        ("qwen3-fp8-tiny", 4, &[]),
        ("qwen3-moe-fp8-tiny", 4, &[]),
        ("qwen3-moe-fp8-tiny", 2, &["--expert-parallel"]),
        ("qwen3-moe-fp8-tiny", 4, &["--expert-parallel"]),
    ] {
        let golden = Golden::read(name);
        let mut args = golden.command(name, tp);
        let more = ["--kv-cache-dtype", "f32"].iter().chain(more);
        args.extend(more.map(|&word| word.to_owned()));
        golden.check(run(mpirun(tp, &words(&args))));
    }
}

/// Sampled tokens and their log-probabilities, to the last digit, of prompts long enough that sums are
/// exchanged in stripes.
#[test]
fn bits_are_those_of_threads_every_time() {
    for (name, tp, more) in [
        ("qwen2-tiny", 2, &[][..]),
        ("llama-tied-tiny", 3, &[]),
        ("llama-tiny", 4, &[]),
        (
            "qwen3-moe-fp8-tiny",
            4,
            &["--expert-parallel", "--kv-cache-dtype", "fp8"],
        ),
    ] {
        let mut args = generate(name, tp, 24);
        args.extend(more.iter().map(|&word| word.to_owned()));
        let long: Vec<u32> = (0..400).map(|i| i * 37 % 251).collect();
        for prompt in [&long[..], &long[7..9], &long[100..333]] {
            args.extend(["--prompt-ids".to_owned(), listed(prompt)]);
        }
        args.extend(["--temperature", "0.9", "--seed", "3", "--logprobs", "5"].map(str::to_owned));
        let threads = cli_support::run(&words(&args)).succeeded();
        for _ in 0..2 {
            let processes = run(mpirun(tp, &words(&args))).succeeded();
            assert_eq!(processes.stdout, threads.stdout, "{name}, tp {tp}");
        }
    }
}

#[test]
fn rank_0_alone_prints_and_writes() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let model = fixture("qwen2-tiny");
    let args = [
        "bench",
        "--model",
        &model,
        "--tp",
        "4",
        "--json",
        "--threads",
        "5",
    ];
    let load = ["--concurrency", "3", "--requests", "6", "--output-len", "9"];
    let files = ["--out", out.to_str().unwrap()];
    let outcome = run(mpirun(4, &[&args[..], &load, &files].concat())).succeeded();
    let json = outcome.json();
    assert_eq!(json["runs"][0]["metrics"]["successful_requests"], 6);
    let engine = &json["engine"];
    assert_eq!((&engine["tp"], &engine["threads"]), (&4.into(), &5.into()));
    let ranks = engine["ranks"].as_array().unwrap();
    let numbers: Vec<u64> = ranks.iter().map(|r| r["rank"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert!(ranks.iter().all(|r| r["kv_bytes"].as_u64() > Some(0)));
    assert_eq!(json["environment"]["features"], serde_json::json!(["mpi"]));
    let load_s = json["start_up"]["load_s"].as_f64().unwrap();
    assert!(load_s > 0.0, "{json}");
    let share = engine["communication_share"].as_f64().unwrap();
    assert!(share > 0.0 && share < 1.0, "{share}");
    assert_eq!(
        outcome.stderr.matches("written to").count(),
        1,
        "{outcome:?}"
    );
    let written = std::fs::read_to_string(out.join("results.json")).unwrap();
    assert_eq!(written.trim(), outcome.stdout.trim());
}

/// A step's bytes and FLOPs are those of all ranks, as with threads.
#[test]
fn counts_are_those_of_threads() {
    let model = fixture("qwen3-tiny");
    let args = ["bench", "--model", &model, "--tp", "2", "--json", "--out"];
    let load = ["--concurrency", "2", "--requests", "3", "--output-len", "5"];
    let steps = |is_job: bool| {
        let dir = TempDir::new().unwrap();
        let out = dir.path().join("out");
        let args = [&args[..], &[out.to_str().unwrap()], &load].concat();
        match is_job {
            true => run(mpirun(2, &args)).succeeded(),
            false => cli_support::run(&args).succeeded(),
        };
        let lines = std::fs::read_to_string(out.join("steps.jsonl")).unwrap();
        let count = |line: &str| {
            let step: serde_json::Value = serde_json::from_str(line).unwrap();
            ["bytes", "flops"].map(|key| step[key].as_u64().unwrap())
        };
        lines.lines().map(count).collect::<Vec<_>>()
    };
    assert_eq!(steps(true), steps(false));
}

#[test]
fn commands_without_an_engine_run_once() {
    let alone = cli_support::run(&["models"]).succeeded();
    let outcome = run(mpirun(3, &["models"])).succeeded();
    assert_eq!(outcome.stdout, alone.stdout);
    let help = run(mpirun(3, &["bench", "--help"])).succeeded();
    assert_eq!(help.stdout.matches("Usage:").count(), 1);
}
