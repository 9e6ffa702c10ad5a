//! A run on several ranks tells what each holds and what they spend on each other.

use crate::cli_support::{fixture, refused, run};

fn bench(more: &[&str]) -> serde_json::Value {
    let model = fixture("llama-tiny");
    let load = [
        "--concurrency",
        "4",
        "--requests",
        "8",
        "--output-len",
        "12",
    ];
    let args = [&["bench", "--model", &model, "--json"], &load[..], more].concat();
    run(&args).succeeded().json()
}

#[test]
fn each_rank_tells_its_memory_and_the_run_its_communication() {
    let one = bench(&["--tp", "1"]);
    assert!(one["engine"]["communication_share"].is_null());
    let extended = &one["runs"][0]["extended"];
    assert!(extended["communication_share_percent"].is_null());
    let why = &one["runs"][0]["not_observed"]["communication_share_percent"];
    assert_eq!(why, "one rank exchanges nothing");

    let four = bench(&["--tp", "4", "--kv-cache-memory", "1000000"]);
    let engine = &four["engine"];
    assert_eq!((&engine["tp"], &engine["threads"]), (&4.into(), &4.into()));
    let ranks = engine["ranks"].as_array().unwrap();
    assert_eq!(ranks.len(), 4);
    let bytes = |ranks: &[serde_json::Value], what: &str| -> u64 {
        ranks.iter().map(|rank| rank[what].as_u64().unwrap()).sum()
    };
    for (number, rank) in ranks.iter().enumerate() {
        assert_eq!(rank["rank"], number);
    }
    // 2 KV heads over 4 ranks: each rank has one, and all of them share the budget.
    let kv = bytes(ranks, "kv_bytes");
    assert!(kv > 900_000 && kv <= 1_000_000, "{kv}");
    // Each rank holds less than the whole, and together they hold norms and KV heads more than once.
    let whole = bytes(one["engine"]["ranks"].as_array().unwrap(), "weights_bytes");
    let parts = bytes(ranks, "weights_bytes");
    let largest = ranks[0]["weights_bytes"].as_u64().unwrap();
    assert!(
        largest < whole / 3 && parts > whole && parts < whole * 3 / 2,
        "{parts} of {whole}"
    );
    let share = engine["communication_share"].as_f64().unwrap();
    assert!(share > 0.0 && share < 1.0, "{share}");
    let extended = &four["runs"][0]["extended"];
    let percent = extended["communication_share_percent"].as_f64().unwrap();
    assert!((percent - 100.0 * share).abs() < 1e-9);
    // Seven sums of 128 numbers a row, and a token and its logit a sampled row.
    let steps = extended["steps"].as_f64().unwrap();
    let per_step = extended["mean_communication_bytes_per_step"]
        .as_f64()
        .unwrap();
    let sampled = 8.0 * 12.0;
    let rows = 8.0 * (100.0 + 11.0);
    // The last layer goes on with the sampled rows alone.
    let sums = 128.0 * 4.0 * (5.0 * rows + 2.0 * sampled);
    assert!(
        (per_step * steps - sums - 8.0 * sampled).abs() < 1.0,
        "{per_step} x {steps}"
    );
}

#[test]
fn a_split_that_the_model_does_not_allow_is_refused_before_loading() {
    let model = fixture("llama-tiny");
    let refuse =
        |tp: &str, parts: &[&str]| refused(&["bench", "--model", &model, "--tp", tp], parts);
    refuse(
        "3",
        &["--tp 3", "8 attention heads", "8 % 3 = 2", "1, 2, 4, 8"],
    );
    refuse("16", &["--tp 16", "8 attention heads", "1, 2, 4, 8"]);
}

#[test]
fn activations_in_bf16_are_named() {
    let auto = bench(&[]);
    assert_eq!(auto["engine"]["dtype"], "f32");
    let bf16 = bench(&["--dtype", "bf16", "--tp", "2"]);
    assert_eq!(bf16["engine"]["dtype"], "bf16");
    assert_eq!(bf16["engine"]["ranks"].as_array().unwrap().len(), 2);
    let metrics = &bf16["runs"][0]["metrics"];
    assert_eq!(metrics["successful_requests"], 8, "{metrics}");
}
