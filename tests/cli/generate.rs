//! `generate`, `models` and `doctor` through the program.

use crate::cli_support::{Copy, Outcome, fixture, run};
use serde_json::{Value, json};

/// Prompts and greedy continuations of a fixture, as its maker's library computed them in f32.
fn golden(name: &str) -> Vec<(Vec<u32>, Vec<u32>)> {
    let text = std::fs::read_to_string(fixture(name) + "/golden.json").unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let lists =
        |key: &str| -> Vec<Vec<u32>> { serde_json::from_value(golden[key].clone()).unwrap() };
    lists("prompts").into_iter().zip(lists("greedy")).collect()
}

fn joined(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn generate(model: &str, flags: &[&str]) -> Outcome {
    let args: Vec<&str> = ["generate", "--model", model, "--kv-cache-dtype", "f32"]
        .iter()
        .chain(flags)
        .copied()
        .collect();
    run(&args).succeeded()
}

fn ids(answer: &Value) -> Vec<u32> {
    serde_json::from_value(answer["token_ids"].clone()).unwrap()
}

#[test]
fn greedy_continuations_are_the_golden_ones() {
    let golden = golden("qwen2-tiny");
    let prompts: Vec<String> = golden.iter().map(|(prompt, _)| joined(prompt)).collect();
    let mut flags = vec!["--json", "--max-tokens", "32"];
    prompts
        .iter()
        .for_each(|ids| flags.extend(["--prompt-ids", ids]));
    let answers = generate(&fixture("qwen2-tiny"), &flags).json();
    assert_eq!(answers.as_array().unwrap().len(), golden.len());
    for (answer, (prompt, greedy)) in answers.as_array().unwrap().iter().zip(&golden) {
        assert_eq!(answer["prompt_ids"], json!(prompt));
        assert_eq!(&ids(answer), greedy);
        assert_eq!(answer["finish_reason"], "length");
        assert!(answer["text"].is_string());
        assert!(answer.get("logprobs").is_none());
    }
    // So they are on two ranks.
    let on_two = generate(
        &fixture("qwen2-tiny"),
        &[&flags[..], &["--tp", "2"]].concat(),
    )
    .json();
    assert_eq!(on_two, answers);
    // A single prompt is an object, not an array.
    let one = generate(&fixture("qwen2-tiny"), &flags[..5]).json();
    assert_eq!(ids(&one), golden[0].1);
}

#[test]
fn logprobs_list_the_best_alternatives() {
    let (prompt, greedy) = golden("qwen2-tiny").swap_remove(1);
    let prompt = joined(&prompt);
    let flags = [
        "--prompt-ids",
        &prompt,
        "--max-tokens",
        "6",
        "--logprobs",
        "3",
        "--json",
    ];
    let answer = generate(&fixture("qwen2-tiny"), &flags).json();
    let logprobs = answer["logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), 6);
    for (entry, token) in logprobs.iter().zip(&greedy) {
        assert_eq!(entry["token_id"], *token);
        let top: Vec<(u32, f64)> = serde_json::from_value(entry["top"].clone()).unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(top[0].0, *token, "greedy takes the best");
        assert_eq!(Some(top[0].1), entry["logprob"].as_f64());
        assert!(top.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{top:?}");
        let mass: f64 = top.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!(mass > 0.0 && mass <= 1.0 + 1e-6, "{mass}");
    }
    let none = [
        "--prompt-ids",
        &prompt,
        "--max-tokens",
        "2",
        "--logprobs",
        "0",
        "--json",
    ];
    let answer = generate(&fixture("qwen2-tiny"), &none).json();
    assert_eq!(answer["logprobs"][0]["top"], json!([]));
    assert!(answer["logprobs"][0]["logprob"].as_f64().unwrap() < 0.0);
}

#[test]
fn the_seed_decides_what_is_sampled() {
    let sample = |seed: &str, more: &[&str]| {
        let base = [
            "--prompt-ids",
            "33",
            "--max-tokens",
            "24",
            "--temperature",
            "1.5",
            "--json",
        ];
        let flags: Vec<&str> = base
            .iter()
            .chain(&["--seed", seed])
            .chain(more)
            .copied()
            .collect();
        ids(&generate(&fixture("qwen2-tiny"), &flags).json())
    };
    assert_eq!(sample("1", &[]), sample("1", &[]));
    assert_ne!(sample("1", &[]), sample("2", &[]));
    let greedy = &golden("qwen2-tiny")[0].1[..24];
    assert_ne!(sample("1", &[]), greedy);
    // A choice of one is no choice.
    assert_eq!(sample("1", &["--top-k", "1"]), greedy);
    assert_eq!(sample("2", &["--top-p", "0"]), greedy);
    // Threads and batch are not randomness.
    assert_eq!(
        sample("1", &["--threads", "1", "--block-size", "32"]),
        sample("1", &[])
    );
}

#[test]
fn an_end_token_ends_the_output_unless_it_is_ignored() {
    let (prompt, greedy) = golden("qwen2-tiny").swap_remove(0);
    let prompt = joined(&prompt);
    let model = Copy::of("qwen2-tiny");
    let end = greedy[5];
    assert!(!greedy[..5].contains(&end));
    let flags = ["--prompt-ids", &prompt, "--max-tokens", "32", "--json"];
    for ids_of_end in [json!(end), json!([end]), json!([511, end, 0])] {
        model.edit("generation_config.json", |c| c["eos_token_id"] = ids_of_end);
        let answer = generate(model.path(), &flags).json();
        assert_eq!(answer["finish_reason"], "stop");
        let stopped = ids(&answer);
        assert!(
            stopped == greedy[..5] || stopped == greedy[..6],
            "{stopped:?}"
        );
        let ignoring: Vec<&str> = flags.into_iter().chain(["--ignore-eos"]).collect();
        let answer = generate(model.path(), &ignoring).json();
        assert_eq!(answer["finish_reason"], "length");
        assert_eq!(ids(&answer), greedy);
    }
    // Without a generation_config.json the config's own end token counts.
    model.remove("generation_config.json");
    let model = model.with_config("eos_token_id", json!(end));
    assert_eq!(
        generate(model.path(), &flags).json()["finish_reason"],
        "stop"
    );
}

#[test]
fn chat_puts_the_prompt_into_the_template() {
    let text = |prompt_ids: &Value| prompt_ids.as_array().unwrap().len();
    let flags = ["--prompt", "hello", "--max-tokens", "1", "--json"];
    let plain = generate(&fixture("qwen2-tiny"), &flags).json();
    let chat: Vec<&str> = flags.into_iter().chain(["--chat"]).collect();
    let chat = generate(&fixture("qwen2-tiny"), &chat).json();
    let spelled = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n";
    let spelled = ["--prompt", spelled, "--max-tokens", "1", "--json"];
    let spelled = generate(&fixture("qwen2-tiny"), &spelled).json();
    assert!(text(&chat["prompt_ids"]) > text(&plain["prompt_ids"]));
    assert_eq!(chat["prompt_ids"], spelled["prompt_ids"]);
}

#[test]
fn streamed_text_is_the_text_of_the_json() {
    for prompt in ["hello", "the quick brown fox", "ünïcode ☃"] {
        for name in ["qwen2-tiny", "llama-tiny", "qwen3-tiny"] {
            let model = fixture(name);
            let flags = ["--prompt", prompt, "--max-tokens", "24"];
            let streamed = generate(&model, &flags);
            let json: Vec<&str> = flags.into_iter().chain(["--json"]).collect();
            let answer = generate(&model, &json).json();
            assert_eq!(
                streamed.stdout,
                format!("{}\n", answer["text"].as_str().unwrap())
            );
            assert_eq!(streamed.stderr, "");
        }
    }
}

#[test]
fn several_prompts_are_numbered() {
    let flags = [
        "--prompt",
        "one",
        "--prompt",
        "two",
        "--prompt-ids",
        "33",
        "--max-tokens",
        "4",
    ];
    let text = generate(&fixture("qwen2-tiny"), &flags).stdout;
    for index in 0..3 {
        assert!(text.contains(&format!("[{index}] ")), "{text}");
    }
    let json: Vec<&str> = flags.into_iter().chain(["--json"]).collect();
    let answers = generate(&fixture("qwen2-tiny"), &json).json();
    assert_eq!(ids(&answers[2]), golden("qwen2-tiny")[0].1[..4]);
}

#[test]
fn a_model_without_a_tokenizer_answers_in_ids() {
    let model = Copy::of("qwen2-tiny");
    model.remove("tokenizer.json");
    let flags = ["--prompt-ids", "33", "--max-tokens", "4"];
    assert!(
        generate(model.path(), &flags)
            .stdout
            .contains("[17, 301, 239, 99]")
    );
    let json: Vec<&str> = flags.into_iter().chain(["--json"]).collect();
    assert_eq!(generate(model.path(), &json).json()["text"], Value::Null);
}

#[test]
fn models_lists_the_cards() {
    let text = run(&["models"]).succeeded().stdout;
    let cards = run(&["models", "--json"]).succeeded().json();
    let cards = cards["models"].as_array().unwrap();
    assert!(cards.len() >= 10);
    for card in cards {
        let line = text
            .lines()
            .find(|l| l.split_whitespace().next() == card["name"].as_str());
        let runnable = card["runnable"].as_bool().unwrap();
        assert_eq!(line.unwrap().contains("not yet"), !runnable);
        assert!(card["parameters"].as_u64().unwrap() > 100_000_000);
    }
}

#[test]
fn doctor_says_what_is_here_and_what_is_missing() {
    let text = run(&["doctor"]).succeeded().stdout;
    for part in ["cpu ", "memory ", "gpus ", "hf cache", "missing "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let found = run(&["doctor", "--json"]).succeeded().json();
    assert!(found["cores"].as_u64().unwrap() >= 1);
    assert!(found["ram_gib"].as_f64().unwrap() >= found["available_gib"].as_f64().unwrap());
    assert_eq!(found["hf_offline"], true);
    assert!(!found["missing"].as_array().unwrap().is_empty());
}

#[test]
fn every_help_has_an_example() {
    for args in [
        &["--help"][..],
        &["bench", "--help"],
        &["generate", "--help"],
        &["models", "--help"],
        &["doctor", "--help"],
    ] {
        let outcome = run(args).succeeded();
        assert!(
            outcome.stdout.contains("Examples:\n  candlepower "),
            "{args:?}"
        );
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
fn prompts_answer_in_the_order_of_the_command_line() {
    let model = fixture("qwen2-tiny");
    let flags = [
        "--prompt-ids",
        "5,6",
        "--prompt",
        "ab",
        "--prompt-ids",
        "7",
        "--max-tokens",
        "1",
    ];
    let flags: Vec<&str> = flags.into_iter().chain(["--json"]).collect();
    let answers = generate(&model, &flags).json();
    assert_eq!(answers[0]["prompt_ids"], json!([5, 6]));
    assert_eq!(answers[1]["text"].as_str().map(str::is_empty), Some(false));
    assert_ne!(answers[1]["prompt_ids"], json!([7]));
    assert_eq!(answers[2]["prompt_ids"], json!([7]));
}
