//! Other people's runs beside a run of the same model and load.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli_support::{Outcome, copy_files, fixture, run};

const MODEL: &str = "DeepSeek-R1-Distill-Qwen-14B";
const A100_C50: &str = "a100-80g-x1/DeepSeek-R1-Distill-Qwen-14B/c50";

/// A tiny model under a large one's name, with room for the report's requests.
fn namesake() -> (TempDir, PathBuf) {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join(MODEL);
    std::fs::create_dir(&dir).unwrap();
    copy_files(fixture("llama-tied-tiny").as_ref(), &dir);
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["max_position_embeddings"] = json!(1024);
    std::fs::write(&path, config.to_string()).unwrap();
    (parent, dir)
}

fn bench(flags: &[&str]) -> Outcome {
    let (_parent, dir) = namesake();
    let load = ["--input-len", "100", "--output-len", "601"];
    let args: Vec<&str> = ["bench", "--model", dir.to_str().unwrap()]
        .iter()
        .chain(&load)
        .chain(flags)
        .copied()
        .collect();
    run(&args).succeeded()
}

fn names(outcome: &Outcome) -> Vec<String> {
    let results = outcome.json();
    let references = results["references"].as_array().unwrap();
    references
        .iter()
        .map(|r| r["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The line of a table that starts with `metric`.
fn row<'a>(table: &'a str, metric: &str) -> &'a str {
    table.lines().find(|line| line.starts_with(metric)).unwrap()
}

#[test]
fn a_matching_run_stands_beside_ours_with_what_it_could_not_observe() {
    let load = ["--concurrency", "1", "--requests", "2"];
    let table = bench(&[&load[..], &["--format", "full"]].concat()).stdout;
    assert!(
        table.contains("rtx4090-48g-x2") && !table.contains("a100"),
        "{table}"
    );
    // The two columns are ours and theirs; the ratio is of ours over theirs.
    assert!(row(&table, "avg_latency").ends_with("x)"), "{table}");
    // Their client did not stream: it saw no first token.
    for metric in ["avg_first_token_latency", "avg_tpot"] {
        let cell = row(&table, metric).split_whitespace().last().unwrap();
        assert!(cell.starts_with("n/o") && cell != "n/o", "{metric}: {cell}");
    }
    assert!(table.contains("not_observable_non_streaming"), "{table}");
    assert!(table.contains("n/o: not observed"), "{table}");
}

#[test]
fn figures_of_another_definition_get_no_ratio() {
    let a100 = ["--reference", A100_C50];
    let load = ["--concurrency", "50", "--requests", "50"];
    let table = bench(&[&load[..], &a100, &["--format", "table"]].concat()).stdout;
    // The A100's total counts input and output tokens.
    let total = row(&table, "overall_total_throughput");
    assert!(total.contains("1450") && !total.contains("x)"), "{total}");
    let output = row(&table, "output_tokens_per_sec");
    assert!(output.ends_with("x)"), "{output}");
    assert!(table.contains("answers ended early"), "{table}");
}

#[test]
fn none_hides_them_and_other_loads_match_none() {
    let load = ["--concurrency", "1", "--requests", "1", "--json"];
    let with = |more: &[&'static str]| -> Vec<&str> { load.iter().chain(more).copied().collect() };
    assert_eq!(
        names(&bench(&with(&[]))),
        ["rtx4090-48g-x2/DeepSeek-R1-Distill-Qwen-14B/c1"]
    );
    assert!(names(&bench(&with(&["--reference", "none"]))).is_empty());
    // A slice is not the model.
    assert!(names(&bench(&with(&["--layers", "1"]))).is_empty());
    let other = ["--concurrency", "2", "--requests", "2", "--json"];
    assert!(names(&bench(&other)).is_empty());
    assert_eq!(names(&bench(&with(&["--reference", A100_C50]))), [A100_C50]);
}

#[test]
fn a_results_file_of_our_own_is_a_reference() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().to_str().unwrap();
    let load = ["--concurrency", "1", "--requests", "1"];
    let first: Vec<&str> = load.into_iter().chain(["--out", out]).collect();
    bench(&first);
    let file = dir.path().join("results.json");
    let second: Vec<&str> = load
        .into_iter()
        .chain(["--json", "--reference", file.to_str().unwrap()])
        .collect();
    let results = bench(&second).json();
    let reference = &results["references"][0];
    assert_eq!(reference["concurrency"], 1);
    assert_eq!(reference["metrics"]["total_tokens_generated"], 601);
}
