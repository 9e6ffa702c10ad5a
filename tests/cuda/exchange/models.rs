//! The program over GPUs that add up without NCCL: its tokens, what it tells of the choice, what it refuses.

use crate::cli_support::{Outcome, command, fixture};
use crate::common::golden::Golden;

use super::*;

/// Of each prompt: whole models take their time where kernels are interpreted.
const TOKENS: usize = 6;

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
    let flags = "--device cuda --dtype f32 --json --max-num-seqs 4 --max-num-batched-tokens 64 --kv-cache-memory 4M --max-model-len 128";
    let flags = flags.split(' ');
    let chosen = ["--model", model, "--tp", tp, "--all-reduce", way];
    chosen.into_iter().chain(flags).collect()
}

fn tokens_are_golden(name: &str, tp: usize, more: &[&str]) {
    let golden = Golden::read(name);
    let (model, ranks, count) = (fixture(name), tp.to_string(), TOKENS.to_string());
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
    for way in ["host", "p2p", "auto"] {
        let mut args = vec!["generate", "--max-tokens", &count, "--ignore-eos"];
        args.extend(engine(&model, &ranks, way));
        args.extend(more);
        args.extend(prompts.iter().flat_map(|ids| ["--prompt-ids", ids]));
        let Some(outcome) = program(tp, way != "host", &args) else {
            return;
        };
        let answers = outcome.succeeded().json();
        let found: Vec<Vec<u32>> = answers
            .as_array()
            .unwrap()
            .iter()
            .map(|answer| serde_json::from_value(answer["token_ids"].clone()).unwrap())
            .collect();
        assert_eq!(found, expected, "{name} over {tp}, {way}, {more:?}");
    }
}

#[test]
fn dense() {
    tokens_are_golden("qwen3-tiny", 2, &[]);
}

#[test]
fn replicated_kv_heads() {
    tokens_are_golden("qwen2-tiny", 4, &[]);
}

#[test]
fn experts_by_column() {
    tokens_are_golden("qwen3-moe-tiny", 2, &[]);
}

#[test]
fn whole_experts() {
    tokens_are_golden("qwen3-moe-tiny", 2, &["--expert-parallel"]);
}

#[test]
fn block_fp8() {
    tokens_are_golden("qwen3-fp8-tiny", 2, &[]);
}

#[test]
fn a_result_tells_what_each_way_took() {
    let model = fixture("qwen2-tiny");
    let mut args = vec!["bench", "--concurrency", "2", "--requests", "2"];
    args.extend(["--input-len", "8", "--output-len", "3"]);
    args.extend(engine(&model, "2", "auto"));
    let Some(outcome) = program(2, true, &args) else {
        return;
    };
    let results = outcome.succeeded().json();
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
