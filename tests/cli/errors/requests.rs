//! Requests that the model or the machine cannot serve, and places that cannot be written.

use std::fs;

use tempfile::TempDir;

use crate::cli_support::{Copy, fixture, refused, run};

fn bench(more: &[&str], parts: &[&str]) {
    let model = fixture("qwen2-tiny");
    let args: Vec<&str> = ["bench", "--model", &model]
        .iter()
        .chain(more)
        .copied()
        .collect();
    refused(&args, parts);
}

fn generate(more: &[&str], parts: &[&str]) {
    let model = fixture("qwen2-tiny");
    let args: Vec<&str> = ["generate", "--model", &model]
        .iter()
        .chain(more)
        .copied()
        .collect();
    refused(&args, parts);
}

#[test]
fn more_tokens_than_the_context() {
    bench(
        &["--input-len", "600"],
        &["632 tokens", "512 positions", "lower"],
    );
    bench(
        &["--input-len", "512", "--output-len", "1"],
        &["513 tokens"],
    );
    bench(&["--max-model-len", "600"], &["600", "512 positions"]);
    bench(
        &["--max-model-len", "50"],
        &["132 tokens", "--max-model-len is 50"],
    );
    let ids = vec!["1"; 513].join(",");
    generate(&["--prompt-ids", &ids], &["513 tokens", "context of 512"]);
    generate(
        &["--prompt-ids", "1", "--max-tokens", "512"],
        &["1 tokens", "512 output tokens", "context of 512"],
    );
    let longest = [
        "--prompt-ids",
        "1,2",
        "--max-model-len",
        "10",
        "--max-tokens",
        "9",
    ];
    generate(&longest, &["9 output tokens", "--max-model-len"]);
}

#[test]
fn token_ids_outside_the_vocabulary() {
    generate(
        &["--prompt-ids", "1,512"],
        &["--prompt-ids", "512", "vocabulary of 512"],
    );
    generate(&["--prompt-ids", "4294967295"], &["4294967295"]);
    for value in ["1,x", "-1", "1,,2", "", "4294967296"] {
        let ids = format!("--prompt-ids={value}");
        let outcome = run(&["generate", &ids]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains("--prompt-ids"), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn prompts_that_cannot_be_read() {
    generate(&["--prompt", ""], &["no tokens"]);
    refused(
        &["generate", "--prompt", "hello"],
        &["Qwen2.5-0.5B", "neither a tokenizer"],
    );
    refused(
        &["bench", "--prompt", "hello"],
        &["Qwen2.5-0.5B", "neither a tokenizer"],
    );
    let outcome = run(&["generate"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("--prompt"), "{outcome:?}");
}

#[test]
fn chat_without_a_template() {
    let chat = ["generate", "--chat", "--prompt", "hello"];
    refused(&chat, &["--chat", "Qwen2.5-0.5B"]);
    let model = Copy::of("qwen2-tiny");
    model.edit("tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("chat_template");
    });
    let args = [
        "generate",
        "--model",
        model.path(),
        "--chat",
        "--prompt",
        "hello",
    ];
    refused(&args, &["--chat", model.path(), "template"]);
}

#[test]
fn a_pool_too_small_for_the_request() {
    // 6144 bytes a block of 16 tokens: two blocks, one of them the null block.
    generate(
        &[
            "--prompt-ids",
            "1",
            "--max-tokens",
            "100",
            "--kv-cache-memory",
            "13000",
        ],
        &["7 KV blocks", "KV cache more memory"],
    );
    bench(
        &["--kv-cache-memory", "10"],
        &["10 bytes", "--kv-cache-memory"],
    );
    bench(
        &["--kv-cache-memory", "900000T"],
        &["--kv-cache-memory", "available memory"],
    );
}

#[test]
fn a_bench_in_which_nothing_fits_shows_its_failures_and_exits_1() {
    let model = fixture("qwen2-tiny");
    let outcome = run(&[
        "bench",
        "--model",
        &model,
        "--kv-cache-memory",
        "13000",
        "--concurrency",
        "1",
        "--requests",
        "2",
        "--json",
    ]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .starts_with("error: no request of c1 succeeded"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("KV blocks"), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1);
    let run = &outcome.json()["runs"][0];
    assert_eq!(run["metrics"]["failed_requests"], 2);
    assert_eq!(run["failures"].as_array().unwrap().len(), 2);
}

#[test]
fn an_out_that_cannot_be_written() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("out");
    for out in [
        file.to_str().unwrap(),
        below.to_str().unwrap(),
        "/proc/candlepower",
    ] {
        bench(&["--out", out], &["--out", out, "cannot be written"]);
    }
}

#[test]
fn an_unknown_reference() {
    bench(
        &["--reference", "nonesuch"],
        &["--reference nonesuch", "rtx4090-48g-x2", "none"],
    );
    bench(
        &["--reference", "/no/such.json"],
        &["/no/such.json", "cannot be read"],
    );
    let model = Copy::of("qwen2-tiny");
    let path = model.file("tokenizer.json");
    let path = path.to_str().unwrap();
    bench(&["--reference", path], &[path, "results.json"]);
}

#[test]
fn a_dataset_that_is_not_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("d.jsonl");
    let name = path.to_str().unwrap();
    bench(&["--dataset", name], &[name, "cannot be read"]);
    for (line, fault) in [
        ("", "holds no requests"),
        ("x", "no value of JSON"),
        ("[]", "d.jsonl, line 1"),
        ("{}", "exactly one of"),
        ("{\"input_len\": 0}", "no tokens"),
        ("{\"input_len\": -1}", "input_len is -1"),
        ("{\"input_len\": 600}", "600 tokens"),
        ("{\"input_len\": 500}", "532 tokens"),
        ("{\"input_len\": 18446744073709551615}", "512 positions"),
        (
            "{\"input_len\": 1, \"output_len\": 0}",
            "output length is 0",
        ),
        (
            "{\"input_len\": 1, \"output_len\": 100000000000}",
            "512 positions",
        ),
        ("{\"prompt_ids\": [512]}", "token id 512"),
        ("{\"prompt_ids\": []}", "no tokens"),
        ("{\"prompt\": \"\"}", "no tokens"),
        ("{\"prompt_ids\": [1], \"prompt\": \"a\"}", "exactly one of"),
        ("{\"input_len\": 1, \"arrival\": -1}", "arrival is -1"),
        ("{\"input_len\": 1, \"arrival\": 1e300}", "arrival is 1000"),
        (
            "{\"input_len\": 1}\n{\"input_len\": 1, \"arrival\": 1}",
            "line 2",
        ),
    ] {
        fs::write(&path, line).unwrap();
        bench(&["--dataset", name], &[fault]);
    }
    fs::write(&path, "{\"input_len\": 1, \"arrival\": 0}\n").unwrap();
    bench(
        &["--dataset", name, "--requests", "2"],
        &["--requests", "1 requests"],
    );
}
