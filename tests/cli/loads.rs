//! Open loops: rates in lists, all at once, and with a cap.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::cli_support::{Outcome, refused, run};

const SIM: &str = "bench --device sim:h100-sxm --model Qwen2.5-0.5B --input-len 64 --output-len 16";

fn bench(words: &str) -> Outcome {
    run(&SIM.split(' ').chain(words.split(' ')).collect::<Vec<_>>())
}

/// Arrival and last token of every request.
fn spans(out: &Path) -> Vec<(f64, f64)> {
    let text = fs::read_to_string(out.join("requests.jsonl")).unwrap();
    let span = |line: &str| {
        let request: Value = serde_json::from_str(line).unwrap();
        let last = request["tokens"].as_array().unwrap().last().unwrap();
        (request["arrival"].as_f64().unwrap(), last.as_f64().unwrap())
    };
    text.lines().map(span).collect()
}

/// Most that are in flight at once; one that ends makes room for one that comes then.
fn most(spans: &[(f64, f64)]) -> usize {
    let at = |time: f64| {
        spans
            .iter()
            .filter(move |(start, end)| *start <= time && time < *end)
    };
    spans
        .iter()
        .map(|(start, _)| at(*start).count())
        .max()
        .unwrap()
}

#[test]
fn a_rate_with_a_cap_never_has_more_in_flight_and_sends_when_one_ends() {
    let dir = TempDir::new().unwrap();
    let played = |name: &str, words: &str| {
        let out = dir.path().join(name);
        bench(&format!("{words} --out {} --json", out.display())).succeeded();
        (spans(&out), out)
    };
    let (free, _) = played("free", "--request-rate 2000 --requests 64");
    let (capped, out) = played(
        "capped",
        "--request-rate 2000 --requests 64 --max-concurrency 3",
    );
    assert!(most(&free) > 3);
    assert_eq!(most(&capped), 3);
    for ((due, _), (sent, _)) in free.iter().zip(&capped) {
        assert!(sent >= due, "nothing is sent before it is due");
        let is_due = sent == due;
        let has_made_room = capped.iter().any(|(_, end)| end == sent);
        assert!(is_due || has_made_room, "{due} {sent}");
    }
    let vllm: Value =
        serde_json::from_str(&fs::read_to_string(out.join("vllm.json")).unwrap()).unwrap();
    assert_eq!(
        (&vllm["request_rate"], &vllm["max_concurrency"]),
        (&2000.0.into(), &3.into())
    );
    // Where the cap is never met, it changes nothing.
    let (slow, _) = played("slow", "--request-rate 5 --requests 16");
    let (same, _) = played(
        "same",
        "--request-rate 5 --requests 16 --max-concurrency 16",
    );
    assert_eq!(slow, same);
}

#[test]
fn an_infinite_rate_sends_all_at_once_and_lists_are_runs() {
    let all = bench("--request-rate inf --requests 12 --json")
        .succeeded()
        .json();
    let scenario = &all["runs"][0]["scenario"];
    assert_eq!(
        (&scenario["concurrency"], &scenario["request_rate"]),
        (&12.into(), &Value::Null)
    );
    assert_eq!(all["runs"][0]["extended"]["max_in_flight"], 12);
    let four = bench("--request-rate inf --max-concurrency 4 --requests 12 --json");
    let four = four.succeeded().json();
    assert_eq!(four["runs"][0]["extended"]["max_in_flight"], 4);
    let closed = bench("--max-concurrency 4 --requests 12 --json")
        .succeeded()
        .json();
    let duration = |results: &Value| results["runs"][0]["extended"]["duration"].clone();
    assert_eq!(duration(&four), duration(&closed));
    let list = bench("--request-rate 4,inf --requests 8,16 --json")
        .succeeded()
        .json();
    let runs = list["runs"].as_array().unwrap();
    let rates: Vec<&Value> = runs
        .iter()
        .map(|run| &run["scenario"]["request_rate"])
        .collect();
    assert_eq!(rates, [&Value::from(4.0), &Value::Null]);
    let counts: Vec<&Value> = runs
        .iter()
        .map(|run| &run["scenario"]["requests"])
        .collect();
    assert_eq!(counts, [8, 16]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let words: Vec<&str> = SIM.split(' ').collect();
    let with = |more: &[&'static str]| [&words[..], more].concat();
    refused(
        &with(&["--request-rate", "4", "--max-concurrency", "1,2"]),
        &["--max-concurrency", "give one"],
    );
    for bad in ["0", "-1", "nan", "fast"] {
        let outcome = run(&with(&["--request-rate", bad]));
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome.stderr.contains("inf for all at once"),
            "{outcome:?}"
        );
    }
}
