//! Requests that are turns of conversations, made up and recorded: they grow, wait for answers, and find what was said.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::work::{BLOCK, arrivals, checked, lengths, near, numbers, records};
use crate::bench::recompute::recompute;
use crate::cli_support::{fixture, run};

/// Prompts are all that was said and 40 new tokens, answers 10. What was computed is kept in whole blocks: all of a turn
/// but its last token, which nothing followed.
#[test]
fn conversations_grow_and_find_what_was_said() {
    let load = "--concurrency 2 --requests 12 --turns 3 --think-time 1.5 --input-len 40 --output-len 10 --prefix-cache";
    let (results, requests) = checked(load);
    let scenario = &results["runs"][0]["scenario"];
    assert_eq!(
        (&scenario["turns"], &scenario["think_time_s"]),
        (&3.into(), &1.5.into())
    );
    // Two conversations at a time, which go on side by side.
    let turns = [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2];
    let said = |turn: u64| 50 * turn;
    let prompts: Vec<u64> = turns.iter().map(|turn| said(*turn) + 40).collect();
    assert_eq!(numbers(&requests, "prompt_tokens"), prompts);
    let hits: Vec<u64> = turns
        .iter()
        .map(|turn| said(*turn).saturating_sub(1) / BLOCK * BLOCK)
        .collect();
    assert_eq!(numbers(&requests, "cached_tokens"), hits);
    let arrived = arrivals(&requests);
    let end = |at: usize| requests[at]["tokens"][9].as_f64().unwrap();
    for later in (0..12).filter(|at| turns[*at] > 0) {
        near(&[arrived[later]], &[end(later - 2) + 1.5]);
    }
    // A conversation that ends makes room for the next.
    near(&[arrived[6], arrived[7]], &[end(4), end(5)]);
    assert_eq!(results["runs"][0]["extended"]["max_in_flight"], 2);
}

/// Recorded ones of 40 and 24 new tokens with answers of 10, and of 30 alone, by turns; the fourth is the first again.
#[test]
fn recorded_conversations_grow_and_find_what_was_said() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("talks.jsonl");
    let turn = |input: u64, output: u64| json!({"input_len": input, "output_len": output});
    let talks = [
        json!({"turns": [turn(40, 10), turn(24, 10), turn(8, 4)]}),
        json!({"turns": [turn(30, 5)]}),
    ];
    let lines: Vec<String> = talks.iter().map(Value::to_string).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    let load = format!(
        "--concurrency 1 --turns 2 --think-time 1.5 --prefix-cache --dataset {}",
        file.display()
    );
    // Of the first two turns, as many requests as there are.
    let (results, requests) = checked(&load);
    assert_eq!(results["runs"][0]["scenario"]["turns"], 2);
    assert_eq!(lengths(&requests), [(40, 10), (74, 10), (30, 5)]);
    // What was computed of 50 tokens, in whole blocks, but the last, which nothing followed.
    assert_eq!(
        numbers(&requests, "cached_tokens"),
        [0, 49 / BLOCK * BLOCK, 0]
    );
    let end = requests[0]["tokens"][9].as_f64().unwrap();
    near(&arrivals(&requests)[1..2], &[end + 1.5]);
    // Each is played to its end, also where there is a place for the next while they think.
    let side_by_side = load.replace("--concurrency 1", "--concurrency 2");
    let (_, beside) = checked(&side_by_side);
    assert_eq!(lengths(&beside), [(40, 10), (30, 5), (74, 10)]);
    let rate = load.replace("--concurrency 1", "--request-rate 100");
    assert_eq!(lengths(&checked(&rate).1), [(40, 10), (30, 5), (74, 10)]);
    let (_, again) = checked(&format!("{load} --requests 5"));
    assert_eq!(lengths(&again)[3..], [(40, 10), (74, 10)]);
    // Each is found as far as it was computed, but for the token that is to be computed.
    assert_eq!(numbers(&again, "cached_tokens")[3], 39 / BLOCK * BLOCK);
}

/// The same on a device that computes, whose figures a script of its own computes again.
#[test]
fn conversations_on_a_processor() {
    let dir = TempDir::new().unwrap();
    let model = fixture("llama-tied-tiny");
    let words = format!(
        "bench --model {model} --concurrency 3 --requests 12 --turns 2 --prefix-len 20 --input-len uniform:5-30 \
         --output-len 4 --prefix-cache --out {}",
        dir.path().display()
    );
    run(&words.split(' ').collect::<Vec<_>>()).succeeded();
    let out = dir.path().to_str().unwrap();
    recompute(out);
    run(&["verify", out]).succeeded();
    let requests = records(dir.path());
    assert!(
        numbers(&requests, "cached_tokens")
            .iter()
            .any(|found| *found >= 2 * BLOCK)
    );
}

/// With pauses in which the engine holds nothing: the laws of a run hold all the same.
#[test]
fn conversations_come_at_a_rate_and_pause() {
    let load = "--request-rate 0.5 --requests 30 --turns 2 --think-time 7 --input-len uniform:20-60 --output-len normal:12,4 --prefix-len 32";
    let (results, requests) = checked(load);
    assert_eq!(requests.len(), 30);
    let arrived = arrivals(&requests);
    assert!(arrived.windows(2).all(|pair| pair[0] <= pair[1]));
    let prompts = numbers(&requests, "prompt_tokens");
    // No first turn is as long.
    let grown = prompts.iter().filter(|prompt| **prompt > 92).count();
    assert!((8..=15).contains(&grown), "{prompts:?}");
    let window = results["runs"][0]["extended"]["duration"].as_f64().unwrap();
    assert!(window > 20.0, "{window}");
    let (_, bounded) = checked(&format!("{load} --max-concurrency 1"));
    // One conversation at a time: a second turn follows its first.
    let ends: Vec<f64> = bounded
        .iter()
        .map(|request| {
            let tokens = request["tokens"].as_array().unwrap();
            tokens[tokens.len() - 1].as_f64().unwrap()
        })
        .collect();
    for pair in 0..15 {
        near(&[arrivals(&bounded)[2 * pair + 1]], &[ends[2 * pair] + 7.0]);
    }
}
