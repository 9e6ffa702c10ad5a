//! Models over GPUs that add up without NCCL: tokens and bits, with graphs and without; what the program tells of the
//! choice, and what it refuses.

use candlepower::parallel::{AllReduce, Split};

use crate::case::tokens_and_bits_are_golden;
use crate::cli_support::{Outcome, command, fixture};
use crate::common::golden::Golden;

use super::*;

/// After a prompt: whole models take their time where kernels are interpreted.
const TOKENS: usize = 5;

/// The program on virtual GPUs; `None`, and said, on a machine with real ones.
pub fn program(gpus: usize, peers: bool, args: &[&str]) -> Option<Outcome> {
    if !Gpu::is_virtual(0).unwrap() {
        eprintln!("SKIPPED: only virtual GPUs are as many as one likes");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("vgpu.toml");
    std::fs::write(&config, format!("peer_access = {peers}\n")).unwrap();
    let mut program = command(args);
    program
        .env("VGPU_CONFIG", &config)
        .env("VGPU_DEVICES", gpus.to_string());
    Some(Outcome::of(program.output().unwrap()))
}

pub fn engine<'a>(model: &'a str, tp: &'a str, way: &'a str) -> Vec<&'a str> {
    let flags = "--device cuda --dtype f32 --json --max-num-seqs 4 --max-num-batched-tokens 16 --kv-cache-memory 4M --max-model-len 128";
    let flags = flags.split(' ');
    let chosen = ["--model", model, "--tp", tp, "--all-reduce", way];
    chosen.into_iter().chain(flags).collect()
}

/// Golden tokens and equal bits by host memory and into each other's, with graphs and without.
fn adds_up(test: &str, name: &'static str, tp: usize, expert_parallel: bool) {
    if !Machine::new(tp, true).is_inside(test) {
        return;
    }
    let split = Split {
        tp,
        expert_parallel,
    };
    for way in [AllReduce::Host, AllReduce::P2p] {
        tokens_and_bits_are_golden(name, split, way, TOKENS);
    }
}

macro_rules! of_each_split {
    ($($case:ident: $name:literal, $tp:literal, $whole:literal;)*) => {
        mod own_sums_keep_tokens_and_bits {
            use super::*;
            $(#[test]
            fn $case() {
                let test = concat!("exchange::models::own_sums_keep_tokens_and_bits::", stringify!($case));
                adds_up(test, $name, $tp, $whole);
            })*
        }
    };
}

of_each_split! {
    dense_over_2: "qwen3-tiny", 2, false;
    shared_kv_heads_over_4: "qwen2-tiny", 4, false;
    experts_by_column_over_2: "qwen3-moe-tiny", 2, false;
    whole_experts_over_4: "qwen3-moe-tiny", 4, true;
    block_fp8_over_2: "qwen3-fp8-tiny", 2, false;
}

/// The program, by each message's fastest way.
#[test]
fn tokens_are_golden_by_the_fastest_ways() {
    let name = "qwen3-tiny";
    let golden = Golden::read(name);
    let (model, count) = (fixture(name), TOKENS.to_string());
    let ids = |prompt: &Vec<u32>| {
        let ids: Vec<String> = prompt.iter().map(u32::to_string).collect();
        ids.join(",")
    };
    let prompts: Vec<String> = golden.prompts.iter().map(ids).collect();
    let expected: Vec<Vec<u32>> = golden
        .greedy
        .iter()
        .map(|all| all[..TOKENS].to_vec())
        .collect();
    let mut args = vec!["generate", "--max-tokens", &count, "--ignore-eos"];
    args.extend(engine(&model, "2", "auto"));
    args.extend(prompts.iter().flat_map(|ids| ["--prompt-ids", ids]));
    let Some(outcome) = program(2, true, &args) else {
        return;
    };
    let answers = outcome.succeeded().json();
    let found: Vec<Vec<u32>> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| serde_json::from_value(answer["token_ids"].clone()).unwrap())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_result_tells_what_each_way_took_and_where_threads_ran() {
    let model = fixture("qwen2-tiny");
    let mut args = vec!["bench", "--concurrency", "2", "--requests", "2"];
    args.extend(["--input-len", "8", "--output-len", "3"]);
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores > 1 {
        args.extend(["--pin-threads", "--threads", "2"]);
    }
    args.extend(engine(&model, "2", "auto"));
    let Some(outcome) = program(2, true, &args) else {
        return;
    };
    let results = outcome.succeeded().json();
    if cores > 1 {
        let cpus = results["engine"]["rank_cpus"].as_array().unwrap();
        assert!(cpus.len() == 2 && cpus[0] != cpus[1], "{cpus:?}");
    }
    let told = &results["environment"]["all_reduce"];
    assert_eq!(told["asked"], "auto");
    let ways: Vec<&str> = told["ways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|way| way.as_str().unwrap())
        .collect();
    let own = ["host one-shot", "host two-shot", "host copies"];
    let peers = ["p2p one-shot", "p2p two-shot"];
    let nccl: &[&str] = match cfg!(feature = "nccl") {
        true => &["nccl"],
        false => &[],
    };
    assert_eq!(ways, [nccl, &own, &peers].concat());
    let sizes = told["sizes"].as_array().unwrap();
    assert_eq!(sizes[0]["bytes"], 4096);
    for size in sizes {
        let us = size["us"].as_object().unwrap();
        assert_eq!(us.len(), ways.len());
        let least = us.values().map(|us| us.as_f64().unwrap());
        let least = least.fold(f64::INFINITY, f64::min);
        let chosen = size["way"].as_str().unwrap();
        assert_eq!(us[chosen].as_f64().unwrap(), least, "{size}");
    }
}

#[test]
fn doctor_shows_what_each_way_takes() {
    let Some(outcome) = program(2, false, &["doctor", "--json"]) else {
        return;
    };
    let found = outcome.succeeded().json();
    let sizes = found["all_reduce"]["sizes"].as_array().unwrap();
    assert!(sizes.iter().all(|size| size["us"]["host copies"].is_f64()));
    assert!(!sizes.is_empty());
    let page = program(2, false, &["doctor"]).unwrap().succeeded().stdout;
    let line = page.lines().find(|line| line.starts_with("all-reduce"));
    assert!(line.unwrap().contains("KiB ("), "{page}");
    let one = program(1, false, &["doctor"]).unwrap().succeeded().stdout;
    assert!(one.contains("not measured: it takes a CUDA build and two GPUs"));
}

#[test]
fn peers_that_do_not_reach_each_other_are_refused() {
    let model = fixture("qwen2-tiny");
    let mut args = vec!["generate", "--prompt-ids", "1,2"];
    args.extend(engine(&model, "2", "p2p"));
    let Some(outcome) = program(2, false, &args) else {
        return;
    };
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    let way_out = "--all-reduce p2p: the first 2 GPUs do not all reach each other's memory; use --all-reduce host";
    assert!(outcome.stderr.contains(way_out), "{outcome:?}");
}
