//! A thousand requests at a time: none lost, and memory stays where it was.

use std::fs;

use tempfile::TempDir;

use super::recompute::recompute;
use crate::cli_support::{fixture, run};

const REQUESTS: usize = 5000;
const OUTPUT_LEN: usize = 32;

#[test]
fn a_thousand_at_a_time_five_thousand_in_all() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().to_str().unwrap();
    let outcome = run(&[
        "bench",
        "--model",
        &fixture("llama-tied-tiny"),
        "--concurrency",
        "1000",
        "--requests",
        "5000",
        "--max-num-seqs",
        "1000",
        "--input-len",
        "64",
        "--output-len",
        "32",
        "--json",
        "--out",
        out,
    ])
    .succeeded();
    let results = outcome.json();
    let run = &results["runs"][0];
    assert_eq!(run["metrics"]["successful_requests"], REQUESTS);
    assert_eq!(run["metrics"]["failed_requests"], 0);
    assert_eq!(
        run["metrics"]["total_tokens_generated"],
        REQUESTS * OUTPUT_LEN
    );
    recompute(out);

    // A thousand were there from the start, and a new one for each that ended.
    let requests = fs::read_to_string(dir.path().join("requests.jsonl")).unwrap();
    let at_the_start = requests.matches("\"arrival\":0.0,").count();
    assert_eq!(at_the_start, 1000);

    // Every block came back: the last step leaves only what it was itself still using.
    let steps = fs::read_to_string(dir.path().join("steps.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(steps.lines().last().unwrap()).unwrap();
    let used = last["kv_blocks_used"].as_u64().unwrap();
    let running = last["running"].as_u64().unwrap();
    let each = (64 + OUTPUT_LEN as u64).div_ceil(16);
    assert!(
        used <= running * each,
        "{used} blocks for {running} requests"
    );

    flat(&dir.path().join("telemetry.csv"));
}

/// From the second quarter of the run to the last the process may grow by what it keeps of each
/// request it has served, and by little else. Between the middles of those quarters lies half of the
/// run; all of its requests are counted. A record holds a time stamp a token, in a vector that may be
/// twice as long, and a few fields. One KV block leaked by each request would be five times as much.
fn flat(telemetry: &std::path::Path) {
    const STAMP: usize = 8;
    const FIELDS: usize = 256;
    /// Telemetry, steps, and the allocator's own doubling of the two lists.
    const REST: f64 = (1 << 20) as f64;
    let text = fs::read_to_string(telemetry).unwrap();
    let mut lines = text.lines();
    let column = lines
        .next()
        .unwrap()
        .split(',')
        .position(|name| name == "rss_bytes")
        .unwrap();
    let rss: Vec<f64> = lines
        .map(|line| line.split(',').nth(column).unwrap().parse().unwrap())
        .collect();
    assert!(rss.len() >= 8, "{} samples", rss.len());
    let quarter = rss.len() / 4;
    let highest = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    let second = highest(&rss[quarter..2 * quarter]);
    let last = highest(&rss[3 * quarter..]);
    let records = (REQUESTS * (2 * OUTPUT_LEN * STAMP + FIELDS)) as f64;
    assert!(
        last - second <= records + REST,
        "{second} bytes, then {last}: {rss:?}"
    );
}
