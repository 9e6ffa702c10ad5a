//! Cases that were handed in, as a user meets them, each beside others of its kind.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli_support::{Outcome, command, fixture, refused, run};

/// Requests, and the sums of their prompt's and output's tokens: a tiny model's tokenizer makes two tokens of "Hi".
fn played(name: &str, text: &str) -> [u64; 3] {
    let dir = TempDir::new().unwrap();
    let (file, out) = (dir.path().join(name), dir.path().join("out"));
    fs::write(&file, text).unwrap();
    let model = fixture("llama-tied-tiny");
    let args = [
        "bench",
        "--model",
        &model,
        "--output-len",
        "2",
        "--dataset",
        file.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    run(&args).succeeded();
    let records = fs::read_to_string(out.join("requests.jsonl")).unwrap();
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sum = |key: &str| records.iter().map(|r| r[key].as_u64().unwrap()).sum();
    [
        records.len() as u64,
        sum("prompt_tokens"),
        sum("output_tokens"),
    ]
}

#[test]
fn datasets_of_others() {
    let pretty = json!([{"id": "a", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}]);
    let pretty = serde_json::to_string_pretty(&pretty).unwrap();
    let mooncake = "{\"timestamp\":0,\"input_length\":20,\"output_length\":3,\"hash_ids\":[1,2]}\n\
                    {\"timestamp\":50,\"input_length\":20,\"output_length\":3,\"hash_ids\":[1,3]}\n";
    for (name, text, expected) in [
        ("bom.jsonl", "\u{feff}{\"prompt\":\"Hi\"}\n", [1, 2, 2]),
        (
            "guidellm.jsonl",
            "{\"prompt\":\"Hi\",\"prompt_tokens_count\":3,\"output_tokens_count\":4}\n",
            [1, 2, 4],
        ),
        (
            "messages.jsonl",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}\n",
            [1, 18, 2],
        ),
        ("mooncake.jsonl", mooncake, [2, 40, 6]),
        ("sharegpt_pretty.json", &pretty, [1, 2, 3]),
        (
            "vllm_custom.jsonl",
            "{\"prompt\":\"Hi\",\"output_tokens\":4}\n{\"prompt\":\"Yo\"}\n",
            [2, 4, 6],
        ),
        // Their relatives: a mark before an array, lines of Windows, an array in one line.
        ("bom.json", "\u{feff}[{\"prompt\":\"Hi\"}]", [1, 2, 2]),
        (
            "windows.jsonl",
            "{\"prompt\":\"Hi\"}\r\n\r\n{\"prompt\":\"Hi\"}\r\n",
            [2, 4, 4],
        ),
        (
            "one-line.json",
            "[{\"prompt\":\"Hi\",\"output_len\":1},{\"prompt\":\"Hi\",\"output_len\":2}]",
            [2, 4, 3],
        ),
    ] {
        assert_eq!(played(name, text), expected, "{name}");
    }
}

#[test]
fn datasets_that_are_none_are_named() {
    let dir = TempDir::new().unwrap();
    let model = fixture("llama-tied-tiny");
    for (name, bytes, part) in [
        ("parquet", &b"PAR1\x15\x00\x15\x00"[..], "Parquet"),
        ("csv", b"question,answer\n\"Hi,4\n", "line 2"),
        ("cut.json", b"[{\"prompt\":\"Hi\"},\n", "cut short"),
        (
            "quotes.jsonl",
            b"{'prompt': 'Hi'}\n",
            "line 1: it is no JSON object (a key stands there without double quotes, column 2)",
        ),
        (
            "tail.jsonl",
            b"{\"prompt\":\"Hi\"}\n{\"prompt\":\"Hi\"\n",
            "line 2: it is no JSON object (it ends in the middle, column",
        ),
        ("word.jsonl", b"{\"prompt\":None}\n", "line 1"),
        ("number.jsonl", b"{\"prompt\":5}\n", "line 1"),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let file = file.to_str().unwrap();
        refused(
            &["bench", "--model", &model, "--dataset", file],
            &[file, part],
        );
    }
}

/// transformers takes `rope_scaling`, and then the default theta.
#[test]
fn rope_scaling_beside_rope_parameters() {
    let config = |change: &dyn Fn(&mut Value)| {
        let mut config = json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 4096,
            "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
            "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
            "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
            "torch_dtype": "bfloat16", "hidden_act": "silu",
            "rope_parameters": {"rope_theta": 1_000_000, "rope_type": "default"},
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
        });
        change(&mut config);
        config
    };
    let fit = |config: Value| {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("config.json");
        fs::write(&file, config.to_string()).unwrap();
        let flags = "--engine vllm --gpu h100-sxm --max-model-len 131072 --json --model";
        let args: Vec<&str> = flags.split(' ').collect();
        let args = [&["fit"][..], &args, &[file.to_str().unwrap()]].concat();
        Outcome::of(command(&args).output().unwrap())
    };
    let verdict = |outcome: &Outcome| outcome.json()["verdict"].as_str().unwrap().to_owned();
    let handed = fit(config(&|_| {}));
    assert_eq!(verdict(&handed), "FITS", "{handed:?}");
    let remark = "rope_theta is 10000, not 1000000";
    assert!(handed.stderr.contains(remark), "{handed:?}");
    // With theta at the top level, and without the one or the other.
    let beside = fit(config(&|config| config["rope_theta"] = json!(1_000_000)));
    assert_eq!(verdict(&beside), "FITS");
    assert!(!beside.stderr.contains("rope_theta is 10000"), "{beside:?}");
    let nested = fit(config(&|config| {
        config["rope_parameters"] = config["rope_scaling"].take();
    }));
    assert_eq!(
        (verdict(&nested).as_str(), nested.stderr.as_str()),
        ("FITS", "")
    );
    let plain = fit(config(&|config| config["rope_scaling"] = Value::Null));
    assert_ne!(verdict(&plain), "FITS", "{plain:?}");
}
