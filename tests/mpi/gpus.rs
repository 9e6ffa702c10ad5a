//! Ranks on GPUs, in several processes: on whatever GPUs answer, which in CI are virtual ones.

use std::path::Path;
use std::process::Command;

use candlepower::ops::cuda::Gpu;
use serde_json::Value;
use tempfile::TempDir;

use super::hosts::Hosts;
use super::job::{launcher, mpirun, run};
use super::tokens::{Golden, words};
use crate::cli_support::{Outcome, fixture};

/// Devices that interpret kernels are late by much, where others wait for their turn.
const PATIENCE: (&str, &str) = ("CANDLEPOWER_MPI_TIMEOUT", "120");
/// Of a small machine's cores, MPI's waiting takes none.
const YIELD: (&str, &str) = ("OMPI_MCA_mpi_yield_when_idle", "1");

/// Small steps: the largest ones are run at the start.
const SMALL: [&str; 12] = [
    "--device",
    "cuda",
    "--dtype",
    "f32",
    "--max-num-seqs",
    "4",
    "--max-num-batched-tokens",
    "16",
    "--max-model-len",
    "64",
    "--kv-cache-memory",
    "4M",
];

/// Whether there are so many GPUs, of which a machine with fewer says that they are missing.
fn there_are(gpus: usize) -> bool {
    let there = Gpu::count().unwrap();
    if gpus > there {
        eprintln!("SKIPPED: {gpus} GPUs, for there are {there}");
    }
    gpus <= there
}

fn on_gpus(mut command: Command) -> Command {
    command.env(PATIENCE.0, PATIENCE.1).env(YIELD.0, YIELD.1);
    command
}

fn job(processes: usize, args: &[&str]) -> Outcome {
    run(on_gpus(mpirun(processes, &[args, &SMALL].concat())))
}

/// The first `prompts` golden prompts of a fixture, `tokens` of each.
fn golden(name: &str, tp: usize, (prompts, tokens): (usize, usize)) -> (Golden, Vec<String>) {
    let golden = Golden::read(name).first(prompts, tokens);
    let args = golden.command(name, tp);
    (golden, args)
}

/// Each way to split: a fixture, ranks, processes, and what else is asked.
#[test]
fn tokens_are_golden_with_graphs_and_without() {
    for (name, tp, processes, more) in [
        ("qwen2-tiny", 2, 2, &[][..]),
        ("llama-tiny", 4, 4, &[]),
        ("llama-tiny", 4, 2, &["--no-cuda-graphs"]),
        ("qwen2-tiny", 2, 2, &["--no-cuda-graphs"]),
        ("qwen3-moe-tiny", 2, 2, &[]),
        ("qwen3-moe-tiny", 4, 2, &["--expert-parallel"]),
    ] {
        if !there_are(tp) {
            continue;
        }
        let (golden, args) = golden(name, tp, (2, 6));
        golden.check(job(processes, &[&words(&args)[..], more].concat()));
    }
}

/// Top-k and log-probabilities are drawn by hosts, from words that all ranks exchange.
#[test]
fn what_hosts_draw_is_that_of_one_process() {
    if !there_are(4) {
        return;
    }
    let (_, args) = golden("qwen2-tiny", 4, (2, 4));
    let draws = ["--temperature", "0.8", "--top-k", "20", "--logprobs", "2"];
    let args = [&words(&args)[..], &draws].concat();
    let alone = crate::cli_support::command(&[&args[..], &SMALL].concat());
    let alone = Outcome::of(on_gpus(alone).output().unwrap()).succeeded();
    let token_ids = |outcome: Outcome| -> Vec<Value> {
        let json = outcome.json();
        let answers = json.as_array().unwrap().iter();
        answers.map(|answer| answer["token_ids"].clone()).collect()
    };
    let processes = job(2, &args).succeeded();
    assert_eq!(token_ids(processes), token_ids(alone));
}

/// The lines of a CSV file as columns: a heading and its values.
fn columns(file: &Path) -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines().map(|line| line.split(','));
    let headings = lines.next().unwrap();
    let mut columns: Vec<_> = headings.map(|h| (h.to_owned(), Vec::new())).collect();
    for line in lines {
        for (column, value) in columns.iter_mut().zip(line) {
            column.1.push(value.to_owned());
        }
    }
    columns
}

/// One load over two processes: every file by rank 0, with what both processes and both GPUs did.
#[test]
fn bench_tells_of_every_process() {
    if !there_are(2) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (out, trace) = (dir.path().join("out"), dir.path().join("trace.json"));
    let model = fixture("qwen2-tiny");
    let load = "--concurrency 2 --requests 4 --input-len 12 --output-len 10 --trace-steps 3..6";
    let args = ["bench", "--model", &model, "--tp", "2", "--json"];
    let files = [
        "--out",
        out.to_str().unwrap(),
        "--trace",
        trace.to_str().unwrap(),
    ];
    let load: Vec<&str> = load.split(' ').collect();
    let outcome = job(2, &[&args[..], &files, &load].concat()).succeeded();
    let written = outcome.stderr.matches("written to").count();
    assert_eq!(written, 1, "{outcome:?}");
    let json = outcome.json();
    assert_eq!(
        json["environment"]["processes"][1]["ranks"],
        serde_json::json!([1])
    );
    assert_eq!(json["hardware"]["count"], 2);
    let processes = json["environment"]["processes"].as_array().unwrap();
    let host = processes[0]["host"].as_str().unwrap();
    for (rank, process) in processes.iter().enumerate() {
        assert_eq!(process["host"], host);
        assert_eq!(process["gpus"][0]["index"], rank);
        let named = &json["engine"]["ranks"][rank];
        assert_eq!(named["device"], format!("cuda:{rank}"));
        assert_eq!(named["host"], host);
        let gpu = &json["runs"][0]["gpus"][rank];
        assert_eq!((&gpu["index"], &gpu["host"]), (&rank.into(), &host.into()));
        assert!(gpu["mean_power_watts"].as_f64() > Some(0.0), "{gpu}");
    }
    assert_eq!(json["runs"][0]["metrics"]["success_rate"], 100.0);
    for file in [
        "results.json",
        "requests.jsonl",
        "steps.jsonl",
        "summary.md",
    ] {
        assert!(out.join(file).metadata().unwrap().len() > 0, "{file}");
    }
    let telemetry = columns(&out.join("telemetry.csv"));
    for name in [
        "gpu0_power_watts",
        "gpu1_power_watts",
        "process1_cpu_percent",
    ] {
        let (_, values) = telemetry.iter().find(|(n, _)| n == name).unwrap();
        assert!(values.iter().any(|v| v.parse::<f64>().is_ok()), "{name}");
    }
    check_trace(&trace, host);
}

/// Both ranks ran the same operations, within the steps that rank 0 saw.
fn check_trace(file: &Path, host: &str) {
    let trace: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |pid: u64| {
        let names = events.iter().filter(|e| e["name"] == "process_name");
        let mut names = names.filter(|e| e["pid"] == pid);
        names.next().unwrap()["args"]["name"].as_str().unwrap()
    };
    let operations = |pid: u64| {
        let ops = events
            .iter()
            .filter(|e| e["cat"] == "op" && e["pid"] == pid);
        ops.map(|op| (op["name"].as_str().unwrap(), op["ts"].as_f64().unwrap()))
            .collect::<Vec<_>>()
    };
    let steps = events
        .iter()
        .filter(|e| e["cat"] == "step" && e["pid"] == 0);
    let start = steps.map(|e| e["ts"].as_f64().unwrap()).next().unwrap();
    let (first, second) = (operations(1), operations(2));
    assert!(first.len() > 10);
    let names = |ops: &[(&str, f64)]| ops.iter().map(|op| op.0.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&first), names(&second));
    assert!(
        second.iter().all(|(_, ts)| *ts >= start),
        "{start}: {second:?}"
    );
    for rank in 0..2 {
        let name = format!("rank {rank} on cuda:{rank} of {host}");
        assert_eq!(named(rank + 1), name);
    }
}

#[test]
fn profile_times_the_ranks_of_all_processes() {
    if !there_are(2) {
        return;
    }
    let model = fixture("qwen2-tiny");
    let args = "--tp 2 --phase decode --batch 2 --context 16 --steps 2 --json";
    let args: Vec<&str> = args.split(' ').collect();
    let profile = job(2, &[&["profile", "--model", &model], &args[..]].concat());
    let profile = profile.succeeded().json();
    let ops = profile["ops"].as_array().unwrap();
    let reduced = ops.iter().find(|op| op["name"] == "all_reduce").unwrap();
    assert_eq!(
        reduced["ranks_us"].as_array().unwrap().len(),
        2,
        "{reduced}"
    );
}

#[test]
fn what_cannot_be_is_told_once() {
    let gpus = Gpu::count().unwrap();
    let model = fixture("llama-tiny");
    let generate = ["generate", "--model", &model, "--prompt-ids", "1"];
    let refused = |processes: usize, more: &[&str], parts: &[&str]| {
        let outcome = job(processes, &[&generate[..], more].concat());
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        let lines = outcome.stderr.lines();
        let told: Vec<_> = lines.filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(told.len(), 1, "{outcome:?}");
        for part in parts {
            assert!(told[0].contains(part), "{part:?} is not in {told:?}");
        }
    };
    refused(2, &["--tp", "3"], &["--tp 3", "2 processes"]);
    refused(
        2,
        &["--tp", "2", "--all-reduce", "host"],
        &["--all-reduce host", "one process", "nccl or auto"],
    );
    if gpus == 4 && Gpu::is_virtual(0).unwrap() {
        let more = ["--tp", "8"];
        let left = "no GPU is left for rank 4 on ";
        refused(
            2,
            &more,
            &[left, "its process sees 4", "CUDA_VISIBLE_DEVICES"],
        );
        refused(1, &more, &["--tp 8 needs as many GPUs", "shows 4"]);
    }
}

/// `args` in a process for each of `shown`, with what its launcher lets it see.
fn showing(shown: [&str; 2], args: &[&str]) -> Outcome {
    let mut command = launcher(&[]);
    for gpus in shown {
        let visible = format!("CUDA_VISIBLE_DEVICES={gpus}");
        command.args(["-n", "1", "-x", &visible]);
        command.arg(env!("CARGO_BIN_EXE_candlepower")).args(args);
        command.args(SMALL).arg(":");
    }
    run(on_gpus(command))
}

/// As under `srun --gpus-per-task=1`: every process calls its own GPU the first.
#[test]
fn a_process_takes_the_gpu_that_it_is_shown() {
    if !there_are(2) {
        return;
    }
    let (golden, args) = golden("qwen2-tiny", 2, (2, 3));
    golden.check(showing(["1", "0"], &words(&args)));
    let outcome = showing(["1", "1"], &words(&args));
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    let told = "no GPU is left for rank 1 on ";
    assert!(outcome.stderr.contains(told), "{outcome:?}");
}

/// Two machines, each with a process that has two GPUs: NCCL goes over the cable between them.
#[test]
fn two_hosts_with_two_gpus_each() {
    // Real GPUs would be those of one machine.
    if !there_are(2) || !Gpu::is_virtual(0).unwrap() {
        return;
    }
    let Some(hosts) = Hosts::connect("g") else {
        return;
    };
    let (golden, args) = golden("llama-tiny", 4, (2, 6));
    let command = hosts.mpirun([1, 1], &[&words(&args)[..], &SMALL].concat());
    golden.check(run(on_gpus(command)));
}
