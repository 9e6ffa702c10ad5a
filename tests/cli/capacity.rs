//! `capacity` through the program: its JSON, its exit codes, and the limit that it says binds.

use candlepower::capacity::Capacity;
use candlepower::report::capacity::text;
use serde_json::Value;

use crate::cli_support::{Outcome, bad_value, fixture, refused, run};

fn capacity(words: &str) -> Outcome {
    let args = ["capacity"].into_iter().chain(words.split(' '));
    run(&args.collect::<Vec<_>>())
}

fn valid(outcome: &Outcome) -> Value {
    let answer = outcome.json();
    let validator = jsonschema::validator_for(&Capacity::schema()).unwrap();
    let faults: Vec<_> = validator
        .iter_errors(&answer)
        .map(|e| e.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    answer
}

const LLAMA: &str = "--device sim:h100-sxm --model DeepSeek-R1-Distill-Llama-8B --json";

#[test]
fn the_limit_that_is_named_moves_the_edge_when_it_is_raised() {
    for (objective, binding, tight, raised) in [
        // The ninth request waits until one of eight ends.
        (
            "--slo ttft:500 --output-len 100",
            "max_num_seqs",
            "--max-num-seqs 8",
            "--max-num-seqs 16",
        ),
        // Requests of 1,100 tokens in a cache of ten of them.
        (
            "--slo ttft:600 --input-len 1000 --output-len 100",
            "kv_blocks",
            "--kv-cache-memory 1441792000",
            "--kv-cache-memory 2883584000",
        ),
        // A prompt takes eight steps.
        (
            "--slo ttft:600 --input-len 1000 --output-len 16",
            "max_num_batched_tokens",
            "--max-num-batched-tokens 128",
            "--max-num-batched-tokens 256",
        ),
    ] {
        let found = |limit: &str| {
            let outcome = capacity(&format!("{LLAMA} {objective} {limit}"));
            valid(&outcome.succeeded())
        };
        let (low, high) = (found(tight), found(raised));
        assert_eq!(low["binding"], binding, "{:#}", low["raised"]);
        let edge = |answer: &Value| answer["passing"]["value"].as_f64().unwrap();
        assert!(
            edge(&high) > edge(&low),
            "{binding}: {} {}",
            edge(&low),
            edge(&high)
        );
        let is_it = |raised: &&Value| raised["what"] == binding;
        let tried = low["raised"]
            .as_array()
            .unwrap()
            .iter()
            .find(is_it)
            .unwrap();
        assert_eq!(tried["moved"], true);
        assert_eq!(low["failing"]["value"].as_f64(), Some(edge(&low) + 1.0));
    }
}

#[test]
fn a_jump_is_a_cliff_and_growth_is_smooth() {
    let found = |words: &str| valid(&capacity(&format!("{LLAMA} {words}")).succeeded());
    let cliff = found("--slo ttft:500 --output-len 100 --max-num-seqs 8");
    assert_eq!(
        (&cliff["edge"], &cliff["passing"]["value"]),
        (&"cliff".into(), &8.into())
    );
    let smooth = found("--slo tpot:12 --output-len 100");
    assert_eq!(smooth["edge"], "smooth", "{:#}", smooth["runs"]);
    assert_eq!(smooth["binding"], "tpot", "{:#}", smooth["raised"]);
    // Nothing but a faster card moves it.
    let moved = smooth["raised"].as_array().unwrap().iter();
    let moved: Vec<&Value> = moved.filter(|raised| raised["moved"] == true).collect();
    let is_card =
        |raised: &&&Value| raised["what"] == "memory_bandwidth" || raised["what"] == "compute";
    assert!(
        !moved.is_empty() && moved.iter().filter(is_card).count() == moved.len(),
        "{moved:?}"
    );
}

#[test]
fn the_contract_s_keys_are_there_and_no_progress_in_a_pipe() {
    let outcome = capacity(&format!(
        "{LLAMA} --slo ttft:500,tpot:20 --percentile p99 --output-len 40"
    ));
    let outcome = outcome.succeeded();
    assert_eq!(outcome.stderr, "");
    let answer = valid(&outcome);
    assert_eq!(answer["kind"], "predicted");
    assert_eq!(answer["search"], "concurrency");
    assert_eq!(answer["objective"]["percentile"], 99);
    for side in ["passing", "failing"] {
        let point = &answer[side];
        assert!(point["value"].is_u64(), "{point}");
        let served = point["metrics"]["output_tokens_per_sec"].as_f64().unwrap();
        assert!(served > 0.0 && point["extended"]["p99_ttft_ms"].is_number());
    }
    for run in answer["runs"].as_array().unwrap() {
        let kept = run["bounds"]
            .as_array()
            .unwrap()
            .iter()
            .all(|bound| bound["ok"] == true);
        assert_eq!(run["passed"], kept, "{run}");
    }
}

#[test]
fn a_rate_that_is_not_kept_up_with_fails() {
    let answer = valid(
        &capacity(&format!(
            "{LLAMA} --slo tpot:1000 --search rate --output-len 40 --max-num-seqs 16 --requests 400"
        ))
        .succeeded(),
    );
    assert_eq!(answer["search"], "rate");
    let value = |side: &str| answer[side]["value"].as_f64().unwrap();
    assert!(value("passing") < value("failing") && value("failing") / value("passing") < 1.02);
    let worst = answer["runs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| run["passed"] == false);
    for run in worst {
        let broken = run["bounds"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|bound| bound["ok"] == false);
        assert!(
            broken.into_iter().all(|bound| bound["name"] == "queue"),
            "{run}"
        );
    }
    assert_eq!(answer["binding"], "max_num_seqs", "{:#}", answer["raised"]);
}

#[test]
fn nothing_and_everything_have_their_own_answers() {
    let nothing = capacity(&format!("{LLAMA} --slo tpot:0.001"));
    assert_eq!(nothing.code, Some(3), "{nothing:?}");
    let answer = valid(&nothing);
    assert!(answer["passing"].is_null() && answer["failing"]["value"] == 1);
    assert_eq!(answer["binding"], "tpot");
    let all = valid(&capacity(&format!("{LLAMA} --slo tpot:100000 --max 8")).succeeded());
    assert!(all["failing"].is_null() && all["passing"]["value"] == 8);
    assert_eq!(
        (&all["binding"], &all["edge"]),
        (&"range".into(), &Value::Null)
    );
}

/// Requests of two blocks in a cache of 40: 24 of them are 60 %.
#[test]
fn the_cpu_s_edge_repeats() {
    let model = fixture("qwen2-tiny");
    let words = format!(
        "--model {model} --device cpu --slo e2el:60000,kv:60 --input-len 16 --output-len 16 --kv-cache-memory 251904 --block-size 16 --no-raise --requests 20 --json"
    );
    let edge = || {
        let answer = valid(&capacity(&words).succeeded());
        assert_eq!(answer["kind"], "measured");
        answer["passing"]["value"].as_f64().unwrap()
    };
    let edges = [edge(), edge(), edge()];
    assert_eq!(edges, [12.0; 3]);
}

#[test]
fn a_reader_sees_the_edge_and_what_binds() {
    let words = LLAMA.trim_end_matches(" --json");
    let text = capacity(&format!(
        "{words} --slo ttft:500 tpot:50 --output-len 100 --max-num-seqs 8"
    ));
    let text = text.succeeded().stdout;
    for part in [
        "predicted",
        "p95 TTFT <= 500 ms, TPOT <= 50 ms; no request fails",
        "passes: concurrency 8, ",
        "fails:  concurrency 9, ",
        "bound by max_num_seqs",
        "max_num_seqs 8 -> 16: moves the edge",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn a_search_that_was_cut_short_says_where_the_edge_may_lie() {
    let whole = capacity(&format!("{LLAMA} --slo tpot:50 --max 4")).succeeded();
    let mut answer: Capacity = serde_json::from_value(whole.json()).unwrap();
    answer.partial = true;
    let said = text(&answer, 100);
    assert!(said.contains("fails:  nothing so far"), "{said}");
    let above = "cut short: the edge lies above the load that passes";
    assert!(said.contains(above), "{said}");
    answer.failing = answer.passing.take();
    let said = text(&answer, 100);
    let below = "cut short: the edge lies below the load that fails";
    assert!(said.contains(below), "{said}");
}

#[test]
fn what_cannot_be_is_refused_by_its_flag() {
    bad_value(&["capacity", "--slo", "ttft:1"], "--min", "0");
    let missing = capacity("--device sim:h100-sxm");
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("--slo"), "{missing:?}");
    refused(
        &["capacity", "--slo", "tpot:5", "--output-len", "1"],
        &["--slo tpot", "--output-len"],
    );
    refused(
        &["capacity", "--slo", "tpot:5", "--min", "1.5"],
        &["--min 1.5"],
    );
}
