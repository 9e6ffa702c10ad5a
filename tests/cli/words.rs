//! What the program says, as wide as it may be, and in the user's terms.

use std::fs;

use serde_json::json;

use crate::cli_support::{Copy, Outcome, command, fixture, refused, run};

/// Nothing that is printed is wider than 80 columns where there are no more.
#[test]
fn eighty_columns_are_enough() {
    let model = fixture("qwen3-moe-tiny");
    let load = "--concurrency 1,2,4 --requests 4 --input-len 4 --output-len 4 --quiet --device sim:h100-sxm";
    let load: Vec<&str> = load.split(' ').collect();
    let bench = |flags: &[&'static str]| [&["bench", "--model", &model][..], &load, flags].concat();
    let fit = |flags: &'static str| [&["fit"][..], &flags.split(' ').collect::<Vec<_>>()].concat();
    let profile = "profile --device sim:rtx4090-48g --tp 2 --batch 1,8 --model QwQ-32B --quiet";
    for args in [
        vec!["gpus"],
        vec!["models"],
        vec!["doctor"],
        vec!["--help"],
        vec!["bench", "--help"],
        vec!["generate", "--help"],
        vec!["fit", "--help"],
        vec!["profile", "--help"],
        bench(&[]),
        bench(&["--format", "full"]),
        fit("--gpu h100-sxm"),
        fit("--model QwQ-32B --gpu rtx4090-24g --gpus 2 --explain"),
        fit("--model QwQ-32B --gpu rtx4090-24g --gpus 2,4,8 --concurrency 1000 --explain"),
        fit(
            "--engine vllm --model Qwen3-235B-A22B-FP8 --gpu l40s --gpus 8 --expert-parallel --explain",
        ),
        profile.split(' ').collect(),
    ] {
        let outcome = Outcome::of(command(&args).env("COLUMNS", "80").output().unwrap());
        assert!(outcome.stdout.len() > 200, "{args:?}: {outcome:?}");
        for line in outcome
            .stdout
            .lines()
            .filter(|line| !line.starts_with("hf cache"))
        {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
        }
    }
}

#[test]
fn sentences_are_cut_in_the_middle_where_names_have_no_end() {
    let model = fixture("llama-tied-tiny");
    let name = format!("./{}/there", "x".repeat(100_000));
    for args in [
        vec!["bench", "--model", &name],
        vec!["bench", "--model", &model, "--dataset", &name],
    ] {
        let outcome = run(&args);
        assert_eq!(outcome.code, Some(2), "{args:?}");
        assert!(outcome.stderr.len() < 5000, "{}", outcome.stderr.len());
        assert!(
            outcome.stderr.contains("characters more"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn a_model_that_is_only_a_card_has_no_words() {
    let way_out = "give --model with a model's directory or hub id";
    refused(
        &["generate", "--prompt", "Hi"],
        &["(the default) is a card", way_out],
    );
    refused(
        &["generate", "--model", "QwQ-32B", "--prompt", "Hi"],
        &["--model QwQ-32B is a card", way_out],
    );
    refused(&["bench", "--prompt", "Hi"], &["is a card", "token ids"]);
    // What has files is told what they lack.
    let model = Copy::of("llama-tied-tiny");
    model.remove("tokenizer.json");
    refused(
        &["generate", "--model", model.path(), "--prompt", "Hi"],
        &["has no tokenizer.json", model.path()],
    );
}

#[test]
fn what_is_no_model_is_told_as_what_it_is() {
    let generate = |model: &str, parts: &[&str]| {
        refused(&["generate", "--model", model, "--prompt-ids", "1"], parts);
    };
    generate("/dev/zero", &["/dev/zero", "a pipe or a device"]);
    let address = "https://huggingface.co/org/name/tree/main";
    generate(address, &["it is an address", "give its id, org/name"]);
    for name in ["config.json", "tokenizer.json"] {
        let model = Copy::of("llama-tied-tiny");
        model.remove(name);
        fs::create_dir(model.file(name)).unwrap();
        generate(model.path(), &[name, "not a regular file"]);
    }
    let model = Copy::of("llama-tied-tiny");
    model.remove("config.json");
    generate(model.path(), &["has no config.json"]);
}

#[test]
fn no_file_s_fault_is_told_in_the_reader_s_types() {
    let words = [
        "expected ident",
        "expected value",
        "invalid type",
        "invalid value",
        "invalid length",
        "missing field",
        "unknown variant",
        "untagged",
        "EOF",
        "struct ",
        "usize",
        "sequence",
        "key must be",
        "NFA",
    ];
    let tensor = |dtype: &str, shape: &str| {
        let header = format!(
            "{{\"a\":{{\"dtype\":\"{dtype}\",\"shape\":[{shape}],\"data_offsets\":[0,4]}}}}"
        );
        [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            &[0; 4],
        ]
        .concat()
    };
    let spoiled = |name: &str, content: &[u8]| {
        let model = Copy::of("llama-tied-tiny");
        model.write(name, content);
        let args = [
            "generate",
            "--chat",
            "--prompt",
            "Hi",
            "--model",
            model.path(),
        ];
        run(&args)
    };
    let reference = |content: &[u8]| {
        let model = Copy::of("llama-tied-tiny");
        model.write("reference.json", content);
        let file = model.file("reference.json");
        run(&[
            "bench",
            "--model",
            model.path(),
            "--reference",
            file.to_str().unwrap(),
        ])
    };
    let pattern = json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated", "invert": false}});
    let mut outcomes = Vec::new();
    for text in [
        "",
        "[",
        "[]",
        "{",
        "{}",
        "5",
        "nope",
        "{'a': 1}",
        "{\"a\": 1,}",
        "{\"model\": 5}",
        "{\"runs\": 5}",
        "{\"vocab\": [1]}",
        "\"x\"",
    ] {
        let files = [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors.index.json",
        ];
        outcomes.extend(files.iter().map(|name| spoiled(name, text.as_bytes())));
        outcomes.push(reference(text.as_bytes()));
    }
    outcomes.push(spoiled("tokenizer.json", pattern.to_string().as_bytes()));
    outcomes.push(spoiled("model.safetensors", &tensor("X9", "1")));
    outcomes.push(spoiled("model.safetensors", &tensor("F32", "-1")));
    outcomes.push(spoiled("model.safetensors", &tensor("F32", "\"a\"")));
    assert_eq!(outcomes.len(), 13 * 5 + 4);
    for outcome in outcomes.iter().filter(|outcome| outcome.code != Some(0)) {
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert_eq!(outcome.stderr.trim().lines().count(), 1, "{outcome:?}");
        let word = words.iter().find(|word| outcome.stderr.contains(*word));
        assert!(word.is_none(), "{word:?} in {}", outcome.stderr);
    }
}
