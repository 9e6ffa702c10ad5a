//! Where requests come from: drawn lengths, traces of others, prompts that share beginnings; what is found
//! in the prefix cache is what a count by hand says.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli_support::{Outcome, fixture, refused, run};

pub(super) const CARD: &str = "bench --device sim:h100-sxm --model Qwen2.5-0.5B --json";
/// Tokens of a KV block.
pub(super) const BLOCK: u64 = 16;

pub(super) fn played(words: &str, out: &Path) -> Outcome {
    let words = format!("{CARD} {words} --out {}", out.display());
    let outcome = run(&words.split(' ').collect::<Vec<_>>());
    outcome.succeeded()
}

/// Plays on a simulated card, has the result verified, and gives it and its requests.
pub(super) fn checked(words: &str) -> (Value, Vec<Value>) {
    let dir = TempDir::new().unwrap();
    let outcome = played(words, dir.path());
    let out = dir.path().to_str().unwrap();
    let verified = run(&["verify", out, "--json"]).succeeded().json();
    assert_eq!(verified["ok"], true, "{verified}");
    let results = outcome.json();
    let checks = results["runs"][0]["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    (results, records(dir.path()))
}

pub(super) fn records(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("requests.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(super) fn numbers(records: &[Value], key: &str) -> Vec<u64> {
    records
        .iter()
        .map(|record| record[key].as_u64().unwrap())
        .collect()
}

/// Lengths in and out of each request.
pub(super) fn lengths(records: &[Value]) -> Vec<(u64, u64)> {
    let inputs = numbers(records, "prompt_tokens");
    inputs
        .into_iter()
        .zip(numbers(records, "output_tokens"))
        .collect()
}

pub(super) fn arrivals(records: &[Value]) -> Vec<f64> {
    records
        .iter()
        .map(|record| record["arrival"].as_f64().unwrap())
        .collect()
}

pub(super) fn near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    let pairs = found.iter().zip(expected);
    assert!(
        pairs.clone().all(|(a, b)| (a - b).abs() < 1e-6),
        "{found:?} is not {expected:?}"
    );
}

#[test]
pub(super) fn lengths_are_drawn_by_the_seed_and_told() {
    let load =
        "--concurrency 8 --requests 64 --input-len lognormal:300,200 --output-len uniform:2-9";
    let (results, first) = checked(load);
    let scenario = &results["runs"][0]["scenario"];
    assert_eq!(scenario["input_distribution"], "lognormal:300,200");
    assert_eq!(scenario["output_distribution"], "uniform:2-9");
    assert_eq!(
        (&scenario["input_len"], &scenario["output_len"]),
        (&Value::Null, &Value::Null)
    );
    let drawn = lengths(&first);
    assert!(drawn.iter().all(|(_, output)| (2..=9).contains(output)));
    let mean = drawn.iter().map(|(input, _)| *input).sum::<u64>() / 64;
    assert!((200..400).contains(&mean), "{mean}");
    let again = |seed: &str| {
        let dir = TempDir::new().unwrap();
        played(&format!("{load} --seed {seed}"), dir.path());
        lengths(&records(dir.path()))
    };
    assert_eq!(again("0"), drawn);
    assert_ne!(again("1"), drawn);
    let words = format!("{} {load}", CARD.replace(" --json", ""));
    let told = run(&words.split(' ').collect::<Vec<_>>())
        .succeeded()
        .stdout;
    assert!(
        told.contains("lognormal:300,200 tokens in, uniform:2-9 out"),
        "{told}"
    );
}

#[test]
fn tails_are_cut_to_the_context_and_bounds_are_refused() {
    let dir = TempDir::new().unwrap();
    let outcome = played(
        "--requests 40 --concurrency 4 --input-len azure-conv --output-len sharegpt --max-model-len 256",
        dir.path(),
    );
    assert!(
        outcome.stderr.contains("context of 256"),
        "{}",
        outcome.stderr
    );
    let drawn = lengths(&records(dir.path()));
    assert!(drawn.iter().all(|(input, output)| input + output <= 256));
    assert!(drawn.iter().any(|(input, output)| input + output == 256));
    let with = |flags: &[&'static str]| {
        let words: Vec<&str> = CARD.split(' ').collect();
        [&words[..], flags].concat()
    };
    refused(
        &with(&["--input-len", "uniform:100-300", "--max-model-len", "256"]),
        &["332 tokens", "--max-model-len is 256"],
    );
    for bad in ["uniform:9-3", "0", "zipf:3", "normal:5"] {
        let outcome = run(&with(&["--input-len", bad]));
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains("lognormal:MEAN"), "{outcome:?}");
    }
}

#[test]
fn a_trace_of_mooncake_keeps_its_times_and_finds_its_blocks() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("trace.jsonl");
    let line = |time: u64, input: u64, output: u64, hashes: &[u64]| {
        json!({"timestamp": time, "input_length": input, "output_length": output, "hash_ids": hashes})
            .to_string()
    };
    let lines = [
        line(27_000, 1500, 4, &[1, 2, 3]),
        line(28_000, 1536, 5, &[1, 2, 3]),
        line(28_000, 1124, 3, &[1, 2, 9]),
        line(61_500, 600, 2, &[7, 8]),
        // Longer than the model's context.
        line(62_000, 600_000, 2, &[]),
    ];
    fs::write(&file, lines.join("\n")).unwrap();
    let load = format!("--dataset {} --prefix-cache", file.display());
    let (results, requests) = checked(&load);
    near(&arrivals(&requests), &[0.0, 1.0, 1.0, 34.5]);
    assert_eq!(
        lengths(&requests),
        [(1500, 4), (1536, 5), (1124, 3), (600, 2)]
    );
    // The first has all of two blocks of 512 tokens, and 476 of the third, in whole blocks of 16.
    let hits = [0, 1500 / BLOCK * BLOCK, 2 * 512, 0];
    assert_eq!(numbers(&requests, "cached_tokens"), hits);
    let extended = &results["runs"][0]["extended"];
    let (found, all) = (hits.iter().sum::<u64>(), 1500 + 1536 + 1124 + 600);
    assert_eq!(extended["total_cached_tokens"], found);
    let rate = |name: &str| extended[name].as_f64().unwrap();
    let share = 100.0 * found as f64 / f64::from(all);
    near(&[rate("prefix_cache_hit_percent")], &[share]);
    near(
        &[rate("cached_input_throughput") + rate("computed_input_throughput")],
        &[rate("input_throughput")],
    );
    let (results, requests) = checked(&format!("--dataset {} --time-scale 0.1", file.display()));
    near(&arrivals(&requests), &[0.0, 0.1, 0.1, 3.45]);
    assert_eq!(results["runs"][0]["scenario"]["time_scale"], 0.1);
    // Nothing is found where nothing is looked for.
    assert!(
        requests
            .iter()
            .all(|request| request["cached_tokens"].is_null())
    );
    let run = &results["runs"][0];
    assert_eq!(run["extended"]["total_cached_tokens"], Value::Null);
    let reason = run["not_observed"]["total_cached_tokens"].as_str().unwrap();
    assert!(reason.contains("--prefix-cache"), "{reason}");
    assert_eq!(
        run["extended"]["computed_input_throughput"],
        run["extended"]["input_throughput"]
    );
}

#[test]
fn tables_of_azure_and_burst_gpt_keep_their_times() {
    let dir = TempDir::new().unwrap();
    let play = |name: &str, text: &str, more: &str| {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        checked(&format!("--dataset {}{more}", file.display())).1
    };
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
                 2023-11-16 18:17:03.9799600,480,10\r\n\
                 2023-11-16 18:17:04.0319600,318,8\r\n\
                 2023-11-16 18:18:04.0319600,34,1\r\n";
    let requests = play("azure.csv", azure, "");
    near(&arrivals(&requests), &[0.0, 0.052, 60.052]);
    assert_eq!(lengths(&requests), [(480, 10), (318, 8), (34, 1)]);
    let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                 5,ChatGPT,47,18,65,Conversation log\n\
                 9,GPT-4,100,0,100,Conversation log\n\
                 45,GPT-4,108,23,131,API log\n";
    let requests = play("burst.csv", burst, " --time-scale 2");
    near(&arrivals(&requests), &[0.0, 80.0]);
    assert_eq!(lengths(&requests), [(47, 18), (108, 23)]);
    let own = "input_len,output_len,arrival\n12,3,0\n13,4,0.5\n";
    let requests = play("own.csv", own, "");
    near(&arrivals(&requests), &[0.0, 0.5]);
    assert_eq!(lengths(&requests), [(12, 3), (13, 4)]);
    // Times can be stretched where there are some, and where they decide.
    let plain = dir.path().join("plain.csv");
    fs::write(&plain, "input_len,output_len\n12,3\n").unwrap();
    let plain = plain.to_str().unwrap();
    let words: Vec<&str> = CARD.split(' ').collect();
    let own = dir.path().join("own.csv");
    for (file, more) in [
        (plain, &[][..]),
        (own.to_str().unwrap(), &["--concurrency", "2"][..]),
    ] {
        let flags = ["--dataset", file, "--time-scale", "2"];
        refused(&[&words, &flags[..], more].concat(), &["--time-scale 2"]);
    }
}

/// Each question is asked twice: the second time all of its whole blocks are found, but the last token's.
#[test]
fn dialogues_of_share_gpt_find_their_questions() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("sharegpt.json");
    let dialogue = |id: &str, question: &str, answer: &str| {
        json!({"id": id, "conversations": [
            {"from": "human", "value": question}, {"from": "gpt", "value": answer}]})
    };
    let long = "why is the sky blue ".repeat(6);
    let dialogues = [
        dialogue("a", &long, "because"),
        dialogue("b", "Hi", "Hello"),
        dialogue("c", &long, "who knows"),
    ];
    fs::write(&file, serde_json::to_string_pretty(&dialogues).unwrap()).unwrap();
    let out = dir.path().join("out");
    let model = fixture("llama-tied-tiny");
    let words = format!(
        "bench --device sim:h100-sxm --model {model} --dataset {} --prefix-cache --json --out {}",
        file.display(),
        out.display()
    );
    run(&words.split(' ').collect::<Vec<_>>()).succeeded();
    let requests = records(&out);
    let prompts = numbers(&requests, "prompt_tokens");
    assert_eq!((prompts[0], prompts[1]), (prompts[2], 2));
    assert!(prompts[0] > 2 * BLOCK);
    let again = (prompts[0] - 1) / BLOCK * BLOCK;
    assert_eq!(numbers(&requests, "cached_tokens"), [0, 0, again]);
}

#[test]
fn prompts_of_a_group_find_what_they_share() {
    let load = "--concurrency 1 --requests 9 --prefix-len 1600 --prefix-groups 3 --input-len 40 --output-len 4 --prefix-cache";
    let (results, requests) = checked(load);
    let scenario = &results["runs"][0]["scenario"];
    assert_eq!(
        (
            &scenario["input_len"],
            &scenario["prefix_len"],
            &scenario["prefix_groups"]
        ),
        (&1640.into(), &1600.into(), &3.into())
    );
    let hits = [0, 0, 0, 1600, 1600, 1600, 1600, 1600, 1600];
    assert_eq!(numbers(&requests, "cached_tokens"), hits);
    let extended = &results["runs"][0]["extended"];
    assert_eq!(extended["total_cached_tokens"], 6 * 1600);
    let share = extended["prefix_cache_hit_percent"].as_f64().unwrap();
    near(&[share], &[100.0 * 9600.0 / (9.0 * 1640.0)]);
    // What was found was not computed, so the first token of what finds comes sooner.
    let first = |at: usize| {
        let first = requests[at]["tokens"][0].as_f64().unwrap();
        first - requests[at]["arrival"].as_f64().unwrap()
    };
    assert!(first(8) < first(0), "{} {}", first(8), first(0));
}

#[test]
fn what_is_made_up_has_no_file() {
    let words: Vec<&str> = CARD.split(' ').collect();
    for (flags, named) in [
        (&["--turns", "2", "--prompt", "x"][..], "--turns"),
        (&["--prefix-len", "2", "--dataset", "x"], "--prefix-len"),
        (&["--prefix-len", "2", "--prompt", "x"], "--prefix-len"),
        (&["--think-time", "2"], "--turns"),
        (&["--prefix-groups", "2"], "--prefix-len"),
        (&["--time-scale", "2"], "--dataset"),
        (&["--turns", "0"], "--turns"),
    ] {
        let outcome = run(&[&words, flags].concat());
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(named), "{outcome:?}");
    }
}
