//! Directories and weight files that are not what they should be.

use std::fs;

use serde_json::{Value, json};

use crate::cli_support::{Copy, Outcome, command, fixture, refused, run};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SHARD: &str = "model-00002-of-00002.safetensors";

fn generate(model: &str) -> [&str; 7] {
    [
        "generate",
        "--model",
        model,
        "--prompt-ids",
        "1,2",
        "--max-tokens",
        "2",
    ]
}

fn refused_model(model: &Copy, parts: &[&str]) {
    refused(&generate(model.path()), parts);
}

/// Rewrites the header of a safetensors file, data untouched.
fn edit_header(model: &Copy, name: &str, change: impl FnOnce(&mut Value)) {
    let bytes = fs::read(model.file(name)).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = header.to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(&bytes[8 + length..]);
    model.write(name, out);
}

fn rename(header: &mut Value, from: &str, to: &str) {
    let entry = header.as_object_mut().unwrap().remove(from).unwrap();
    header[to] = entry;
}

#[test]
fn a_model_that_is_nowhere() {
    let missing = "./no/such/model";
    refused(
        &generate(missing),
        &["`./no/such/model` is missing", "check the path"],
    );
    refused(
        &generate("Qwen2.5-0.5b-instruct"),
        &["`Qwen2.5-0.5b-instruct`", "closest cards are Qwen2.5-0.5B"],
    );
    refused(
        &generate("nobody/nothing"),
        &["nobody/nothing", "HF_HUB_OFFLINE"],
    );
    refused(&generate("../a/b"), &["`../a/b`"]);
    let readme = fixture("llama-tied-tiny/tokenizer_config.json");
    refused(&generate(&readme), &["tokenizer_config.json"]);
}

#[test]
fn a_directory_that_lacks_files() {
    let model = Copy::of("llama-tied-tiny");
    model.remove(SINGLE);
    refused_model(&model, &[model.path(), SINGLE, "--dummy-weights"]);
    model.remove("config.json");
    refused_model(&model, &[model.path(), "no config.json"]);
}

#[test]
fn a_file_that_is_cut_or_garbage() {
    let model = Copy::of("llama-tiny");
    let whole = fs::read(model.file(SHARD)).unwrap();
    let cut = &whole[..whole.len() - 1000];
    model.write(SHARD, cut);
    let size = format!("{} bytes", cut.len());
    refused_model(&model, &[SHARD, &size, "download it again"]);
    for garbage in [
        &[][..],
        &[1, 2, 3, 4],
        &[0xff; 64],
        &[0; 64],
        b"\x05\0\0\0\0\0\0\0{\"a\":",
    ] {
        model.write(SHARD, garbage);
        refused_model(&model, &[SHARD, "download it again"]);
    }
}

#[test]
fn an_index_that_leaves_the_directory() {
    let target = fixture("llama-tied-tiny/model.safetensors");
    for shard in [
        "../model.safetensors",
        target.as_str(),
        "a/../../b",
        "..\\b",
        "",
    ] {
        let model = Copy::of("llama-tiny");
        model.edit(INDEX, |index| {
            index["weight_map"]["model.norm.weight"] = json!(shard);
        });
        refused_model(&model, &[INDEX, "outside", &format!("`{shard}`")]);
    }
}

#[test]
fn an_index_that_is_wrong() {
    let model = Copy::of("llama-tiny");
    model.edit(INDEX, |index| {
        index["weight_map"]["model.norm.weight"] = json!("model-00003-of-00002.safetensors");
    });
    refused_model(
        &model,
        &[INDEX, "`model-00003-of-00002.safetensors`", "not there"],
    );
    for text in [
        "",
        "[]",
        "{}",
        "{\"weight_map\": {}}",
        "{\"weight_map\": {\"a\": 1}}",
    ] {
        model.write(INDEX, text);
        refused_model(&model, &[INDEX, "again"]);
    }
}

#[test]
fn an_index_that_sends_a_tensor_to_the_wrong_shard() {
    let model = Copy::of("llama-tiny");
    let first = "model-00001-of-00002.safetensors";
    let map = |name: &str| {
        fs::read_to_string(model.file(INDEX))
            .unwrap()
            .contains(name)
    };
    assert!(map("model.norm.weight"));
    model.edit(INDEX, |index| {
        index["weight_map"]["model.norm.weight"] = json!(first)
    });
    refused_model(&model, &["model.norm.weight", first]);
}

#[test]
fn tensors_that_do_not_fit_the_config() {
    let model = Copy::of("llama-tied-tiny");
    edit_header(&model, SINGLE, |header| {
        rename(header, "model.norm.weight", "model.norm.weights");
        rename(header, "model.layers.1.mlp.up_proj.weight", "up");
        header["model.embed_tokens.weight"]["shape"] = json!([72, 512]);
    });
    refused_model(
        &model,
        &[
            model.path(),
            "model.norm.weight is missing",
            "model.layers.1.mlp.up_proj.weight is missing",
            "model.embed_tokens.weight is [72, 512], expected [512, 72]",
        ],
    );
}

#[test]
fn every_missing_tensor_is_listed() {
    let model = Copy::of("llama-tied-tiny").with_config("num_hidden_layers", json!(4));
    // Two layers of nine tensors are not there.
    refused_model(
        &model,
        &[
            "model.layers.2.input_layernorm.weight is missing",
            "model.layers.2.self_attn.v_proj.weight is missing",
            "model.layers.3.mlp.down_proj.weight is missing",
            "model.layers.3.self_attn.v_proj.weight is missing",
        ],
    );
}

#[test]
fn a_number_format_that_is_not_supported() {
    let model = Copy::of("llama-tied-tiny");
    edit_header(&model, SINGLE, |header| {
        header["model.norm.weight"]["dtype"] = json!("I32");
    });
    refused_model(&model, &["model.norm.weight is I32", "bf16, f16 and f32"]);
}

#[test]
fn an_unexpected_tensor_is_only_a_warning() {
    let model = Copy::of("llama-tied-tiny").with_config("num_hidden_layers", json!(1));
    let outcome = run(&generate(model.path())).succeeded();
    assert!(outcome.stderr.starts_with("warning: "), "{outcome:?}");
    assert!(
        outcome.stderr.contains("9 tensors are not used"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("model.layers.1."), "{outcome:?}");
    let quiet = command(&generate(model.path()))
        .arg("--quiet")
        .output()
        .unwrap();
    let quiet = Outcome::of(quiet).succeeded();
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.stdout, outcome.stdout);
}

#[test]
fn other_files_beside_the_weights_are_left_alone() {
    let model = Copy::of("llama-tied-tiny");
    let before = run(&generate(model.path())).succeeded();
    model.write("model-00001-of-00009.safetensors", "not weights");
    model.write("consolidated.safetensors", "not weights");
    assert_eq!(
        run(&generate(model.path())).succeeded().stdout,
        before.stdout
    );
}

#[test]
fn tokenizer_files_that_are_damaged() {
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ] {
        let model = Copy::of("llama-tied-tiny");
        model.write(name, "{");
        refused_model(&model, &[name, "again"]);
    }
}
