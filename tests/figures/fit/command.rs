//! The contract of the command: keys, exit codes, words.

use serde_json::Value;

use super::{fit, number, outcome, text};
use crate::cli_support::{Copy, bad_value, fixture, refused, run};

const PIPE_COLUMNS: usize = 100;

#[test]
fn the_json_has_the_keys_of_the_contract() {
    let answer = fit("--model QwQ-32B --gpu rtx4090-48g --gpus 2");
    for key in [
        "kv_tokens",
        "kv_bytes_per_token",
        "max_model_len_that_fits",
        "max_concurrency",
    ] {
        assert!(answer[key].is_number(), "{key}: {answer}");
    }
    assert_eq!(answer["fits"], true);
    assert!(answer["fixes"].is_array() && answer.get("rule").is_none());
    let rank = &answer["per_rank"];
    let parts = ["weights", "kv", "activations", "overhead", "graphs"];
    let sum: f64 = parts
        .iter()
        .map(|part| number(rank, &format!("{part}_gib")))
        .sum();
    assert!((sum - number(rank, "total_gib")).abs() < 1e-6);
    assert!((number(rank, "memory_gib") - 47.37).abs() < 1e-6);
    assert!((number(rank, "budget_gib") - 0.9 * 47.37).abs() < 1e-6);
    // Our own budget holds everything, graphs too.
    assert!((sum - number(rank, "budget_gib")).abs() < 1e-6);
}

#[test]
fn exit_codes_tell_fit_from_no_fit() {
    let code = |flags: &str| outcome(flags).code;
    assert_eq!(code("--model QwQ-32B --gpu rtx4090-48g --gpus 2"), Some(0));
    assert_eq!(code("--model QwQ-32B --gpu rtx4090-48g --gpus 1"), Some(3));
    let queued = "--model QwQ-32B --gpu rtx4090-48g --gpus 2 --concurrency 5000";
    assert_eq!(code(queued), Some(0));
    // Of several, one is enough.
    assert_eq!(
        code("--model QwQ-32B --gpu rtx4090-48g --gpus 1,2"),
        Some(0)
    );
}

#[test]
fn a_list_of_gpus_is_an_array() {
    let answers = fit("--model QwQ-32B --gpu rtx4090-48g --gpus 1,2,4,8");
    let answers = answers.as_array().unwrap();
    let verdicts: Vec<&str> = answers
        .iter()
        .map(|answer| text(answer, "verdict"))
        .collect();
    assert_eq!(verdicts, ["NO_WEIGHTS", "FITS", "FITS", "FITS"]);
    let tokens: Vec<f64> = answers.iter().map(|a| number(a, "kv_tokens")).collect();
    assert!(tokens.is_sorted() && number(&answers[3], "tp") == 8.0);
}

#[test]
fn gpus_beyond_the_ranks_are_replicas() {
    let load = "--concurrency 400 --input-len 100 --output-len 100";
    let answer = fit(&format!(
        "--model QwQ-32B --gpu h200 --gpus 8 --tp 2 {load}"
    ));
    assert_eq!(
        (number(&answer, "replicas"), number(&answer, "tp")),
        (4.0, 2.0)
    );
    assert_eq!(text(&answer, "verdict"), "FITS");
    let alone = fit(&format!("--model QwQ-32B --gpu h200 --gpus 2 {load}"));
    assert_eq!(text(&alone, "verdict"), "RUNS_QUEUED");
    assert_eq!(alone["kv_tokens"], answer["kv_tokens"]);
    // Ranks alone say how many GPUs there are.
    let staged = fit("--model QwQ-32B --gpu rtx4090-48g --tp 2 --pp 2");
    assert_eq!((number(&staged, "gpus"), number(&staged, "pp")), (4.0, 2.0));
    let split = fit("--model QwQ-32B --gpu rtx4090-48g --gpus 4 --pp 2");
    assert_eq!(split["per_rank"], staged["per_rank"]);
}

#[test]
fn memory_alone_stands_for_a_card() {
    let own = fit("--model Qwen2.5-0.5B --gpu-memory 8");
    assert_eq!(text(&own, "verdict"), "FITS");
    let less = fit("--model Qwen2.5-0.5B --gpu h100-sxm --gpu-memory 8");
    assert_eq!(less["kv_tokens"], own["kv_tokens"]);
}

#[test]
fn a_checkpoint_tells_its_own_types() {
    let full = fit(&format!(
        "--model {} --gpu-memory 8",
        fixture("qwen3-moe-fp8-tiny")
    ));
    assert_eq!(text(&full, "verdict"), "FITS");
    let weights = |answer: &Value| number(&answer["per_rank"], "weights_gib");
    // A config that lies about its type is put right by the headers.
    let copy = Copy::of("llama-tiny").with_config("torch_dtype", "float32".into());
    let true_type = fit(&format!("--model {} --gpu-memory 8", fixture("llama-tiny")));
    let lied = fit(&format!("--model {} --gpu-memory 8", copy.path()));
    assert_eq!(weights(&true_type), weights(&lied));
    let config = fit(&format!(
        "--model {}/config.json --gpu-memory 8",
        copy.path()
    ));
    assert!(weights(&config) > weights(&lied));
    // No weights at all are needed.
    copy.remove("model-00001-of-00002.safetensors");
    let bare = fit(&format!("--model {} --gpu-memory 8", copy.path()));
    assert_eq!(weights(&bare), weights(&config));
}

#[test]
fn old_cards_and_their_types() {
    let flags = "--model Qwen2.5-0.5B --gpu v100-16g";
    let answer = fit(flags);
    assert_eq!(text(&answer, "verdict"), "UNSUPPORTED");
    assert!(text(&answer, "rule").contains("compute capability 8.0"));
    assert_eq!(text(&answer["fixes"][0], "change"), "--dtype f16");
    assert_eq!(
        text(&fit(&format!("{flags} --dtype half")), "verdict"),
        "FITS"
    );
    // vLLM falls back to f16 on its own since 0.9.
    let vllm = |version: &str| fit(&format!("{flags} --engine vllm --vllm-version {version}"));
    assert_eq!(text(&vllm("0.8.5"), "verdict"), "UNSUPPORTED");
    assert_eq!(text(&vllm("0.10.2"), "verdict"), "FITS");
    let fp8 =
        fit("--model Qwen3-235B-A22B-FP8 --gpu v100-32g --gpus 16 --engine vllm --expert-parallel");
    assert!(
        text(&fp8, "rule").contains("Minimum capability: 80"),
        "{fp8}"
    );
}

#[test]
fn releases_differ_in_what_they_count() {
    let tokens = |version: &str, flags: &str| {
        let answer = fit(&format!(
            "--model DeepSeek-R1-Distill-Llama-8B --engine vllm --vllm-version {version} {flags}"
        ));
        (number(&answer, "kv_tokens"), answer)
    };
    // 0.8.5 takes an A100 of 80 GiB for a large card, 0.9 does not.
    let (old, old_answer) = tokens("0.8.5", "--gpu a100-80g");
    let (new, new_answer) = tokens("0.10.2", "--gpu a100-80g");
    assert!(old < new);
    let limits = |answer: &Value| {
        let key = |key: &str| number(answer, key);
        (key("max_num_seqs"), key("max_num_batched_tokens"))
    };
    assert_eq!(limits(&old_answer), (1024.0, 8192.0));
    assert_eq!(limits(&new_answer), (256.0, 2048.0));
    // Graphs are in the budget since 0.21, and 0.92 of the memory is the default.
    let (_, latest) = tokens("0.31.0", "--gpu l40s");
    assert_eq!(number(&latest, "gpu_memory_utilization"), 0.92);
    let (_, before) = tokens("0.20", "--gpu l40s");
    assert_eq!(number(&before, "gpu_memory_utilization"), 0.9);
    let inside = |answer: &Value| {
        let rank = &answer["per_rank"];
        (number(rank, "total_gib") - number(rank, "budget_gib")).abs() < 1e-6
    };
    assert!(inside(&latest) && !inside(&before));
}

#[test]
fn nothing_may_be_left_for_graphs() {
    let flags = "--model QwQ-32B --gpu rtx4090-48g --gpus 2 --engine vllm";
    let full = format!("{flags} --gpu-memory-utilization 0.98");
    let answer = fit(&full);
    assert_eq!(text(&answer, "verdict"), "GRAPH_OOM");
    assert_eq!(answer["fits"], false);
    let changes: Vec<&str> = answer["fixes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| text(f, "change"))
        .collect();
    assert_eq!(
        changes[..2],
        ["--gpu-memory-utilization 0.9", "--enforce-eager"]
    );
    assert_eq!(
        text(&fit(&format!("{full} --enforce-eager")), "verdict"),
        "FITS"
    );
}

#[test]
fn explain_shows_the_arithmetic() {
    let args = [
        "fit",
        "--model",
        "QwQ-32B",
        "--gpu",
        "rtx4090-48g",
        "--gpus",
        "2",
        "--explain",
    ];
    let outcome = run(&args).succeeded();
    for words in [
        "30.51 of the plan",
        "131,072 B",
        "64 layers",
        "budget - weights",
    ] {
        assert!(
            outcome.stdout.contains(words),
            "{words}: {}",
            outcome.stdout
        );
    }
    let json = fit("--model QwQ-32B --gpu rtx4090-48g --gpus 2 --explain");
    assert!(json["explain"].as_array().unwrap().len() > 7);
    assert!(
        fit("--model QwQ-32B --gpu rtx4090-48g --gpus 2")
            .get("explain")
            .is_none()
    );
}

#[test]
fn tables_fit_a_pipe() {
    for flags in [
        "--model QwQ-32B --gpu rtx4090-48g --gpus 1,2,4,8 --explain",
        "--model Qwen3-235B-A22B-FP8 --gpu l40s --gpus 8 --engine vllm",
        "--model Qwen3-235B-A22B --gpu l40s --gpus 8 --engine vllm --explain",
        "--model DeepSeek-R1-Distill-Qwen-32B --gpu rtx4090-48g --gpus 2 --engine vllm",
        "--model QwQ-32B --gpu rtx4090-48g --gpus 8 --concurrency 1000",
    ] {
        let args: Vec<&str> = ["fit"]
            .into_iter()
            .chain(flags.split_whitespace())
            .collect();
        let outcome = run(&args);
        assert_eq!(outcome.stderr, "");
        for line in outcome.stdout.lines() {
            assert!(line.chars().count() <= PIPE_COLUMNS, "{line}");
            assert_eq!(line, line.trim_end());
        }
    }
}

#[test]
fn wrong_questions_are_refused_by_name() {
    let card = ["--gpu", "rtx4090-48g"];
    let with = |flags: &[&'static str]| -> Vec<&'static str> {
        ["fit"]
            .into_iter()
            .chain(card)
            .chain(flags.iter().copied())
            .collect()
    };
    refused(
        &["fit", "--gpu", "rtx4090"],
        &["rtx4090-24g", "candlepower gpus"],
    );
    refused(&with(&["--model", "QwQ-33B"]), &["QwQ-33B", "QwQ-32B"]);
    refused(
        &with(&["--gpus", "2", "--tp", "4"]),
        &["--tp 4", "--gpus is 2"],
    );
    refused(
        &with(&["--gpus", "1,2", "--tp", "2"]),
        &["--tp 2", "--gpus is 1"],
    );
    refused(
        &with(&["--vllm-version", "0.9"]),
        &["--vllm-version", "--engine vllm"],
    );
    refused(&with(&["--layers", "99"]), &["--layers 99", "24 layers"]);
    refused(
        &with(&[
            "--max-model-len",
            "512",
            "--input-len",
            "500",
            "--output-len",
            "100",
        ]),
        &["500 + 100", "512", "--max-model-len"],
    );
    bad_value(&with(&[]), "--gpu-memory", "0");
    bad_value(&with(&[]), "--gpu-memory-utilization", "1.5");
    bad_value(&with(&[]), "--gpus", "0");
    let outcome = run(&with(&["--engine", "vllm", "--vllm-version", "new"]));
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("0.10.2"), "{outcome:?}");
    let outcome = run(&["fit", "--model", "QwQ-32B"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("--gpu"), "{outcome:?}");
}

#[test]
fn files_that_cannot_be_read_are_refused_by_name() {
    let odd = Copy::of("llama-tiny").with_config(
        "quantization_config",
        serde_json::json!({"quant_method": "of-nobody", "bits": 4}),
    );
    let config = std::fs::read(odd.file("config.json")).unwrap();
    odd.write("alone.json", config);
    let alone = odd.file("alone.json");
    refused(
        &["fit", "--gpu", "l4", "--model", alone.to_str().unwrap()],
        &["alone.json", "of-nobody", "headers"],
    );
    let damaged = Copy::of("qwen2-tied-tiny");
    damaged.write("model.safetensors", "no header");
    refused(
        &["fit", "--gpu", "l4", "--model", damaged.path()],
        &["model.safetensors"],
    );
}

#[test]
fn a_length_beyond_the_positions_is_unsupported() {
    let flags = "--model QwQ-32B --gpu h200 --gpus 2 --max-model-len 50000";
    for engine in ["candlepower", "vllm"] {
        let answer = fit(&format!("{flags} --engine {engine}"));
        assert_eq!(text(&answer, "verdict"), "UNSUPPORTED");
        assert!(text(&answer, "rule").contains("40960"), "{answer}");
        assert_eq!(text(&answer["fixes"][0], "change"), "--max-model-len 40960");
    }
}

#[test]
fn help_has_examples() {
    let help = run(&["fit", "--help"]).succeeded().stdout;
    assert!(help.contains("Examples:") && help.contains("Exit codes:"));
    assert!(
        run(&["--help"])
            .succeeded()
            .stdout
            .contains("candlepower fit")
    );
}
