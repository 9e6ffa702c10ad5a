//! Runs by their time, rates that change, requests that are given up, tokens that are drawn: what is written follows from
//! the records, by the script and by `verify`.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::recompute::recompute;
use crate::cli_support::{Outcome, fixture, refused, run};

const SIM: &str = "--device sim:h100-sxm --model Qwen2.5-0.5B --input-len 64 --output-len 16";

/// Plays a load with exit code `code`, and has its files checked.
fn checked(code: i32, words: &str) -> (Outcome, Value, Value) {
    let dir = TempDir::new().unwrap();
    let out = dir.path().to_str().unwrap();
    let line = format!("bench {words} --out {out}");
    let outcome = run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(outcome.code, Some(code), "{words}: {outcome:?}");
    // The script knows machines, and predictions by `verify` alone.
    if !words.contains("sim:") {
        recompute(out);
    }
    run(&["verify", out]).succeeded();
    let read = |name: &str| {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let vllm = match dir.path().join("vllm.json").exists() {
        true => "vllm.json",
        false => "vllm-1.json",
    };
    (outcome, read("results.json"), read(vllm))
}

fn tiny() -> String {
    let model = fixture("llama-tied-tiny");
    format!("--model {model} --device cpu --threads 1 --input-len 16 --output-len 12")
}

fn count(run: &Value, name: &str) -> u64 {
    run["extended"][name].as_u64().unwrap()
}

#[test]
fn a_run_of_a_time_says_how_long_and_how_it_ended() {
    for (words, end) in [("", "drain"), (" --at-end cut", "cut")] {
        for load in ["--concurrency 8", "--request-rate 200"] {
            let (outcome, results, vllm) = checked(0, &format!("{SIM} {load} --duration 2{words}"));
            let run = &results["runs"][0];
            let scenario = &run["scenario"];
            assert_eq!(scenario["duration_s"], 2.0);
            assert_eq!(scenario["at_end"], end);
            assert_eq!(scenario["requests"], Value::Null);
            let sent = run["metrics"]["total_requests"].as_u64().unwrap();
            assert!(sent > 100, "{sent}");
            assert_eq!(vllm["num_prompts"], sent);
            assert_eq!(results["partial"], false);
            let is_cut = count(run, "cut_off") > 0;
            assert_eq!(is_cut, end == "cut", "{load}");
            assert_eq!(outcome.stdout.contains("cut off"), is_cut, "{outcome:?}");
        }
    }
    // Whichever comes first.
    let (_, results, _) = checked(
        0,
        &format!("{SIM} --concurrency 8 --requests 20 --duration 60"),
    );
    assert_eq!(results["runs"][0]["metrics"]["total_requests"], 20);
}

#[test]
fn rates_change_over_the_time_and_lists_are_runs() {
    let words = format!("{SIM} --request-rate ramp:20-180,stairs:50-100,40 --duration 4");
    let (outcome, results, vllm) = checked(0, &words);
    let runs = results["runs"].as_array().unwrap();
    let scenario = |at: usize, key: &str| runs[at]["scenario"][key].clone();
    assert_eq!(scenario(0, "rate_course"), "ramp:20-180");
    assert_eq!(scenario(1, "rate_course"), "stairs:50-100");
    assert_eq!(scenario(2, "rate_course"), Value::Null);
    for (run, mean) in runs.iter().zip([100.0, 75.0, 40.0]) {
        assert_eq!(run["scenario"]["request_rate"], mean);
        let sent = run["metrics"]["total_requests"].as_f64().unwrap();
        assert!((sent / (4.0 * mean) - 1.0).abs() < 0.25, "{sent} at {mean}");
    }
    assert_eq!(vllm["ramp_up_strategy"], "linear");
    assert_eq!(vllm["ramp_up_start_rps"], 20.0);
    assert_eq!(vllm["ramp_up_end_rps"], 180.0);
    assert!(outcome.stdout.contains("ramp:20-180 req/s"), "{outcome:?}");
}

#[test]
fn a_queue_that_keeps_growing_ends_the_run_and_is_told() {
    let words = "--max-num-seqs 4 --request-rate 2000 --requests 4000 --stop-when-saturated";
    let (outcome, results, _) = checked(1, &format!("{SIM} {words}"));
    let run = &results["runs"][0];
    assert_eq!(results["partial"], true);
    let reason = run["cut_short"].as_str().unwrap();
    assert!(reason.starts_with("saturated: "), "{reason}");
    assert_eq!(count(run, "failed"), 0);
    let sent = run["metrics"]["total_requests"].as_u64().unwrap();
    assert!(sent < 1000, "{sent}");
    let screen = outcome
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for part in [
        format!("{sent} requests sent: "),
        format!("{} never sent", 4000 - sent),
        "saturated".to_owned(),
    ] {
        assert!(screen.contains(&part), "{part}: {screen}");
    }
    assert!(!screen.contains("FAILED"), "{screen}");
}

#[test]
fn requests_that_are_given_up_are_counted_and_in_no_latency() {
    let load = "--concurrency 8 --requests 200 --goodput e2el:10000 --repeats 2";
    for cancel in ["0.25", "0.5:0.005"] {
        let (outcome, results, vllm) = checked(0, &format!("{SIM} {load} --cancel {cancel}"));
        let run = &results["runs"][0];
        let (given_up, whole) = (count(run, "cancelled"), count(run, "completed"));
        assert!((20..130).contains(&given_up), "{given_up}");
        assert_eq!((given_up + whole, count(run, "failed")), (200, 0));
        assert_eq!(run["extended"]["percentile_n"]["e2el"], whole);
        assert_eq!(run["metrics"]["success_rate"], 100.0);
        assert_eq!(run["extended"]["goodput_attainment_percent"], 100.0);
        assert_eq!(vllm["failed"], given_up, "vLLM knows no other end");
        assert!(outcome.stdout.contains("cancelled"), "{outcome:?}");
    }
}

#[test]
fn tokens_are_drawn_by_the_engine_and_the_result_says_how() {
    let model = fixture("qwen2-tiny");
    let words = format!(
        "--model {model} --concurrency 4 --requests 12 --input-len 8 --output-len 8 --seed 5"
    );
    let drawn = "--temperature 0.7 --top-k 20 --top-p 0.9";
    let (_, results, vllm) = checked(0, &format!("{words} {drawn}"));
    let sampling = &results["runs"][0]["scenario"]["sampling"];
    let said = serde_json::json!({"temperature": 0.7, "top_k": 20, "top_p": 0.9, "seed": 5});
    let close = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-6;
    for (key, value) in said.as_object().unwrap() {
        assert!(close(&sampling[key], value), "{key}: {sampling}");
        if key != "seed" {
            assert!(close(&vllm[key], value), "{key}");
        }
    }
    let (_, results, vllm) = checked(0, &words);
    assert_eq!(results["runs"][0]["scenario"]["sampling"], Value::Null);
    assert_eq!(vllm["temperature"], 0.0);
}

/// Of 64 rows of 151,936 logits in f32 at 3,350 GB/s a pass is 12 us and more.
#[test]
fn drawing_costs_passes_over_the_logits_on_a_simulated_card() {
    let step = |more: &str| {
        let line = format!("bench {SIM} --concurrency 64 --requests 64 --json {more}");
        let line: Vec<&str> = line.split_whitespace().collect();
        let outcome = run(&line).succeeded();
        let noted = outcome.stderr.contains("passes over the logits");
        assert_eq!(noted, !more.is_empty(), "{outcome:?}");
        let run = &outcome.json()["runs"][0];
        let drawn = !run["scenario"]["sampling"].is_null();
        assert_eq!(drawn, !more.is_empty());
        run["extended"]["p50_tpot_ms"].as_f64().unwrap()
    };
    let (greedy, drawn) = (step(""), step("--temperature 0.7"));
    let narrowed = step("--temperature 0.7 --top-p 0.9");
    let (once, twice) = (drawn - greedy, narrowed - drawn);
    // Nine passes more, then ten.
    assert!((0.1..0.4).contains(&once), "{greedy} {drawn}");
    assert!((0.1..0.4).contains(&twice), "{drawn} {narrowed}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let with = |words: &'static str, parts: &[&str]| {
        let line = format!("bench {SIM} {words}");
        refused(&line.split(' ').collect::<Vec<_>>(), parts);
    };
    with(
        "--request-rate ramp:1-20",
        &["--request-rate", "--duration"],
    );
    with("--request-rate inf --duration 2", &["--requests"]);
    with(
        "--stop-when-saturated",
        &["--stop-when-saturated", "--request-rate"],
    );
    with(
        "--stop-when-saturated --request-rate 2 --max-concurrency 2",
        &["--max-concurrency"],
    );
    with("--temperature 0 --top-k 3", &["--top-k", "above 0"]);
    for (flag, bad) in [
        ("--cancel", "2"),
        ("--request-rate", "ramp:5"),
        ("--duration", "0"),
    ] {
        let line = format!("bench {SIM} {flag} {bad}");
        let outcome = run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(flag), "{outcome:?}");
    }
}

/// What the script computes again from the records of a machine.
#[test]
fn on_a_machine_the_script_agrees() {
    let tiny = tiny();
    let load = "--concurrency 4 --duration 1 --at-end cut --cancel 0.3 --repeats 3";
    let (_, results, _) = checked(0, &format!("{tiny} {load}"));
    for run in results["runs"].as_array().unwrap() {
        assert!(count(run, "cancelled") > 0 && count(run, "cut_off") > 0);
        assert_eq!(count(run, "failed"), 0);
    }
    let repeats = results["repeats"].as_array().unwrap();
    assert_eq!(repeats.len(), 1, "as many as come is one load");
    let ramp = "--request-rate ramp:5-60 --duration 1 --request-timeout 30";
    checked(0, &format!("{tiny} {ramp}"));
    let flood = "--request-rate 20000 --requests 2000 --max-num-seqs 1 --stop-when-saturated";
    let (_, results, _) = checked(1, &format!("{tiny} {flood}"));
    let reason = results["runs"][0]["cut_short"].as_str().unwrap();
    assert!(reason.starts_with("saturated: "), "{reason}");
}
