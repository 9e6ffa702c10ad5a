//! Files of others, asked about as a user does: quantised ones, GGUF, of no known family; and what `models` says of them.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::{fit, number, text};
use crate::cli_support::{fixture, refused, run};

fn llama(quantization: Option<(&str, Value)>) -> Value {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128_256, "max_position_embeddings": 131_072,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "hidden_act": "silu",
    });
    if let Some((key, value)) = quantization {
        config[key] = value;
    }
    config
}

/// A directory with these files.
fn directory(files: &[(&str, Value)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in files {
        std::fs::write(dir.path().join(name), value.to_string()).unwrap();
    }
    dir
}

fn weights(answer: &Value) -> f64 {
    answer["per_rank"]["weights_gib"].as_f64().unwrap()
}

fn near(found: f64, wanted: f64, within: f64) {
    assert!((found / wanted - 1.0).abs() < within, "{found} of {wanted}");
}

fn assumes(answer: &Value, part: &str) {
    let said = answer["assumptions"].as_array().unwrap().iter();
    let said: Vec<&str> = said.map(|said| said.as_str().unwrap()).collect();
    assert!(said.iter().any(|said| said.contains(part)), "{said:?}");
}

/// Logged: 8.49 GiB of FP8 and 5.38 of 4 bits in groups.
#[test]
fn a_quantisation_beside_or_under_an_older_key_is_no_bf16() {
    let modelopt = json!({"producer": {"name": "modelopt"}, "quantization": {
        "quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}});
    let older = json!({"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "group_size": 128}}}});
    let beside = directory(&[
        ("config.json", llama(None)),
        ("hf_quant_config.json", modelopt),
    ]);
    let under = directory(&[("config.json", llama(Some(("compression_config", older))))]);
    for (dir, logged) in [(beside, 8.49), (under, 5.38)] {
        let model = dir.path().display();
        let answer = fit(&format!(
            "--model {model} --engine vllm --gpu rtx4060ti-16g --max-model-len 8192"
        ));
        near(weights(&answer), logged, 0.01);
        assert!(answer["fits"].as_bool().unwrap(), "{answer}");
    }
}

/// Logged (fit2-122, fit2-121): its kernels fill up the features of experts to whole tiles. What loading leaves behind
/// with two ranks comes on top.
#[test]
fn experts_in_mxfp4_are_laid_out_in_tiles() {
    let rows = include_str!("../../fixtures/fit/families.json");
    let rows: Vec<Value> = serde_json::from_str(rows).unwrap();
    let row = rows
        .iter()
        .find(|row| row["model"] == "openai/gpt-oss-20b")
        .unwrap();
    let dir = directory(&[("config.json", row["config"].clone())]);
    let model = dir.path().display();
    for (tp, logged) in [(1, 13.64), (2, 7.01)] {
        let flags = "--engine vllm --vllm-version 0.19.0 --gpu h100-sxm";
        let answer = fit(&format!("--model {model} {flags} --tp {tp}"));
        near(weights(&answer), logged, 0.03);
    }
}

#[test]
fn a_card_too_old_for_the_weights_is_told_in_vllm_s_words() {
    let awq = json!({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true});
    let dir = directory(&[("config.json", llama(Some(("quantization_config", awq))))]);
    let model = dir.path().display();
    let ask = |gpu: &str, more: &str| {
        fit(&format!(
            "--model {model} --engine vllm --gpu {gpu} --dtype f16 {more}"
        ))
    };
    let answer = ask("v100-16g", "--max-model-len 4096");
    assert_eq!(text(&answer, "verdict"), "UNSUPPORTED");
    assert!(
        text(&answer, "rule").contains("awq") && text(&answer, "rule").contains("75"),
        "{answer}"
    );
    assert_eq!(
        text(&ask("rtx4090-24g", "--max-model-len 4096"), "verdict"),
        "FITS"
    );
    // 14,336 / 64 is not a whole number of groups of 128.
    let cut = ask("rtx4090-24g", "--gpus 32 --tp 32");
    assert!(
        text(&cut, "rule").contains("group_size = 128") || text(&cut, "rule").contains("KV heads"),
        "{cut}"
    );
}

/// A GGUF header of `values` and tensors, and no byte of data.
fn gguf(path: &Path, values: &[(&str, Value)], tensors: &[(String, Vec<u64>, u32, u64)]) {
    let word = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((values.len() as u64).to_le_bytes());
    for (key, value) in values {
        bytes.extend(word(key));
        match value {
            Value::String(said) => bytes.extend([&8_u32.to_le_bytes()[..], &word(said)].concat()),
            other => {
                let count = u32::try_from(other.as_u64().unwrap()).unwrap();
                bytes.extend([4_u32.to_le_bytes(), count.to_le_bytes()].concat());
            }
        }
    }
    let mut offset = 0_u64;
    for (name, shape, kind, size) in tensors {
        bytes.extend(word(name));
        bytes.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset += size.next_multiple_of(32);
    }
    let mut file = File::create(path).unwrap();
    file.write_all(&bytes).unwrap();
    file.set_len(bytes.len() as u64 + 64 + offset).unwrap();
}

/// Of Llama 3.1 8B in Q4_K with its head in Q6_K.
fn llama_tensors() -> Vec<(String, Vec<u64>, u32, u64)> {
    let q4 = |name: String, columns: u64, rows: u64| {
        let size = columns * rows / 256 * 144;
        (name, vec![columns, rows], 12, size)
    };
    let mut tensors = vec![q4("token_embd.weight".to_owned(), 4096, 128_256)];
    for layer in 0..32 {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        tensors.extend([
            q4(name("attn_q"), 4096, 4096),
            q4(name("attn_k"), 4096, 1024),
            q4(name("attn_v"), 4096, 1024),
            q4(name("attn_output"), 4096, 4096),
            q4(name("ffn_gate"), 4096, 14336),
            q4(name("ffn_up"), 4096, 14336),
            q4(name("ffn_down"), 14336, 4096),
            (name("attn_norm"), vec![4096], 0, 4 * 4096),
            (name("ffn_norm"), vec![4096], 0, 4 * 4096),
        ]);
    }
    let head = 4096 * 128_256 / 256 * 210;
    tensors.push(("output.weight".to_owned(), vec![4096, 128_256], 14, head));
    tensors.push(("output_norm.weight".to_owned(), vec![4096], 0, 4 * 4096));
    tensors
}

/// Writes such a file's header to `path`; gives the bytes of its weights.
pub fn llama_gguf(path: &Path) -> u64 {
    let values = [
        ("general.architecture", json!("llama")),
        ("llama.block_count", json!(32)),
        ("llama.embedding_length", json!(4096)),
        ("llama.feed_forward_length", json!(14336)),
        ("llama.attention.head_count", json!(32)),
        ("llama.attention.head_count_kv", json!(8)),
        ("llama.context_length", json!(131_072)),
        ("llama.vocab_size", json!(128_256)),
    ];
    let tensors = llama_tensors();
    gguf(path, &values, &tensors);
    tensors.iter().map(|tensor| tensor.3).sum()
}

#[test]
fn a_gguf_file_is_answered_by_its_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("llama-Q4_K.gguf");
    let stored = llama_gguf(&path);
    // The file, and the directory that holds nothing else.
    for model in [&path, dir.path()] {
        let model = model.display().to_string();
        let answer = fit(&format!(
            "--model {model} --engine vllm --gpu rtx4090-24g --max-model-len 8192"
        ));
        near(weights(&answer), stored as f64 / (1_u64 << 30) as f64, 0.01);
        assert_eq!(number(&answer, "kv_bytes_per_token"), 131_072.0);
        let said = run(&["models", &model, "--json"]).succeeded().json();
        near(number(&said, "parameters"), 8.03e9, 0.001);
        assert_eq!(number(&said, "weight_bytes"), stored as f64);
        assert_eq!(
            (text(&said, "source"), text(&said, "quantization")),
            ("headers", "gguf")
        );
        let head = said["roles"]
            .as_array()
            .unwrap()
            .iter()
            .find(|role| role["role"] == "head");
        near(
            head.unwrap()["bits_per_parameter"].as_f64().unwrap(),
            6.5625,
            1e-6,
        );
    }
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..100]).unwrap();
    let model = path.display().to_string();
    refused(
        &["models", &model],
        &["llama-Q4_K.gguf", "not a whole GGUF file", "cut short"],
    );
}

#[test]
fn headers_answer_for_a_family_that_nobody_knows() {
    let mut config = llama(None);
    config["model_type"] = json!("of-no-family");
    config["architectures"] = json!(["OfNoFamily"]);
    let dir = directory(&[("config.json", config)]);
    let model = dir.path().display().to_string();
    refused(
        &["fit", "--model", &model, "--gpu", "rtx4090-24g"],
        &["config.json", "of-no-family", "headers"],
    );
    let mut entries = serde_json::Map::new();
    let mut end = 0_u64;
    let mut add = |name: &str, dtype: &str, shape: [u64; 2], bytes: u64| {
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [end, end + bytes]});
        entries.insert(name.to_owned(), entry);
        end += bytes;
    };
    let plain = |shape: [u64; 2]| shape[0] * shape[1] * 2;
    add(
        "model.embed_tokens.weight",
        "BF16",
        [128_256, 4096],
        plain([128_256, 4096]),
    );
    add(
        "model.layers.0.self_attn.qkv_proj.weight",
        "BF16",
        [6144, 4096],
        plain([6144, 4096]),
    );
    add(
        "model.layers.0.mlp.down_proj.qweight",
        "I32",
        [1792, 4096],
        1792 * 4096 * 4,
    );
    add(
        "model.layers.0.mlp.down_proj.scales",
        "F16",
        [112, 4096],
        112 * 4096 * 2,
    );
    let header = Value::from(entries).to_string();
    let mut file = File::create(dir.path().join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
    let answer = fit(&format!(
        "--model {model} --engine vllm --gpu rtx4090-24g --max-model-len 4096"
    ));
    near(weights(&answer), end as f64 / (1_u64 << 30) as f64, 0.03);
    assumes(&answer, "of-no-family");
    assumes(&answer, "no file says how the weights are quantised");
    let said = run(&["models", &model, "--json"]).succeeded().json();
    let sum = |role: &str, key: &str| {
        let roles = said["roles"].as_array().unwrap();
        roles.iter().find(|sum| sum["role"] == role).unwrap()[key]
            .as_f64()
            .unwrap()
    };
    assert_eq!(sum("attention", "parameters"), 6144.0 * 4096.0);
    assert_eq!(sum("mlp", "parameters"), 14336.0 * 4096.0);
    assert_eq!(
        sum("mlp", "bytes"),
        1792.0 * 4096.0 * 4.0 + 112.0 * 4096.0 * 2.0
    );
}

#[test]
fn models_says_what_a_checkpoint_is() {
    let said = run(&["models", &fixture("qwen3-moe-tiny"), "--json"])
        .succeeded()
        .json();
    assert_eq!(
        (text(&said, "family"), text(&said, "source")),
        ("qwen3_moe", "headers")
    );
    assert!(said["runnable"].as_bool().unwrap() && said["chat_template"].as_bool().unwrap());
    assert!(number(&said, "active_parameters") < number(&said, "parameters"));
    assert_eq!(
        number(&said, "kv_bytes_per_token"),
        2.0 * 3.0 * 2.0 * 32.0 * 2.0
    );
    let printed = run(&["models", &fixture("qwen3-moe-tiny")])
        .succeeded()
        .stdout;
    for part in [
        "qwen3_moe",
        "experts",
        "for each token",
        "KV cache",
        "chat template",
    ] {
        assert!(printed.contains(part), "{printed}");
    }
    refused(&["models", "no-such-model"], &["no-such-model"]);
}
