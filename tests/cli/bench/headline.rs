//! The first screen, and the other things that stdout can show.

use std::fs;

use tempfile::TempDir;

use crate::cli_support::{Outcome, fixture, run};

/// What a pipe is taken for.
const COLUMNS: usize = 100;
/// A terminal has 24, and its prompts take some.
const MOST_LINES: usize = 20;

fn bench(more: &[&str]) -> Outcome {
    let model = fixture("qwen2-tiny");
    let args = ["bench", "--model", &model, "--input-len", "8"];
    let args = [&args[..], &["--output-len", "4"], more].concat();
    run(&args).succeeded()
}

/// A screen that was checked for what every one has.
fn screen(outcome: &Outcome) -> &str {
    let screen = outcome.stdout.as_str();
    assert_eq!(outcome.stderr, "");
    assert!(!screen.contains('\x1b'), "escapes in a pipe: {screen}");
    assert!(screen.lines().count() <= MOST_LINES, "{screen}");
    for line in screen.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line:?}");
    }
    assert!(screen.contains("\nchecks: "), "{screen}");
    let last = screen.lines().last().unwrap();
    for way in ["--format full", "--out DIR"] {
        assert!(last.contains(way), "{screen}");
    }
    screen
}

fn line<'a>(screen: &'a str, start: &str) -> &'a str {
    let found = screen.lines().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line {start:?} in\n{screen}"))
}

#[test]
fn the_answer_comes_first() {
    let outcome = bench(&["--concurrency", "1,8", "--requests", "2,40"]);
    let screen = screen(&outcome);
    assert!(screen.starts_with("qwen2-tiny in bf16 on "), "{screen}");
    assert_eq!(screen.lines().nth(1), Some("measured; 8 tokens in, 4 out"));
    for (load, absent) in [("c1  ", 2), ("c8  ", 0)] {
        let cells: Vec<&str> = line(screen, load).split_whitespace().collect();
        assert_eq!(cells.len(), 8, "{screen}");
        // Two requests have no 95th percentile.
        let dashes = cells.iter().filter(|cell| **cell == "-").count();
        assert_eq!(dashes, absent, "{screen}");
    }
    line(screen, "- not observed (p95 needs 20 values or more)");
    assert!(!screen.contains("reference"), "{screen}");
}

#[test]
fn rates_objectives_and_repeats_have_their_words() {
    let outcome = bench(&[
        "--request-rate",
        "200",
        "--requests",
        "30",
        "--goodput",
        "ttft:60000,tpot:60000",
        "--repeats",
        "3",
        "--reference",
        "none",
    ]);
    let screen = screen(&outcome);
    let line = line(screen, "200 req/s x3 ");
    assert!(line.contains(" ±") && line.contains(" 100.0% "), "{screen}");
    assert!(
        screen.contains("goodput") && screen.contains("SLO"),
        "{screen}"
    );
    assert!(screen.contains("xN: mean of N plays"), "{screen}");
}

#[test]
fn a_prediction_looks_like_one() {
    let args = "bench --device sim:rtx4090-48g --tp 2 --model QwQ-32B --scenario all --server vllm";
    let outcome = run(&args.split(' ').collect::<Vec<_>>()).succeeded();
    let screen = screen(&outcome);
    assert!(screen.starts_with("QwQ-32B in bf16 on 2 x NVIDIA GeForce RTX 4090"));
    let kind = screen.lines().nth(1).unwrap();
    assert!(
        kind.starts_with("PREDICTED, not measured: behind vllm"),
        "{screen}"
    );
    assert!(kind.ends_with("100 tokens in, 601 out"), "{screen}");
    for load in [
        "c1 predicted ",
        "c50 predicted ",
        "c300 predicted ",
        "c1000 predicted ",
    ] {
        line(screen, load);
    }
    let words = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("over reference rtx4090-48g-x2 (vLLM): c1 0.98x,"),
        "{screen}"
    );
    assert!(
        words.contains("a100-80g-x1 (vLLM): c50 not comparable (not published there)"),
        "{screen}"
    );
    assert!(screen.contains("checks: all 24 hold"), "{screen}");
}

#[test]
fn every_format_is_what_its_file_holds() {
    let load = ["--concurrency", "2", "--requests", "3", "--quiet"];
    for (format, file) in [
        ("csv", "summary.csv"),
        ("json", "results.json"),
        ("markdown", "summary.md"),
    ] {
        let dir = TempDir::new().unwrap();
        let out = dir.path().to_str().unwrap();
        let outcome = bench(&[&load[..], &["--format", format, "--out", out]].concat());
        let written = fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(outcome.stdout, written, "{format}");
    }
    for format in ["full", "table"] {
        let shown = bench(&[&load[..], &["--format", format]].concat()).stdout;
        assert!(shown.contains("\nExtended metrics\n"), "{format}: {shown}");
    }
    let asked = bench(&[&load[..], &["--format", "headline"]].concat());
    screen(&asked);
    let model = fixture("qwen2-tiny");
    let both = ["bench", "--model", &model, "--format", "json", "--json"];
    let outcome = run(&both);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
}
