//! `config.json` files that say too little, too much or nonsense.

use serde_json::{Value, json};

use crate::cli_support::{Copy, fixture, refused};

fn with(key: &str, value: Value, parts: &[&str]) {
    let model = Copy::of("llama-tied-tiny").with_config(key, value);
    let args = ["generate", "--model", model.path(), "--prompt-ids", "1"];
    let parts: Vec<&str> = parts.iter().copied().chain(["config.json"]).collect();
    refused(&args, &parts);
}

#[test]
fn an_unknown_architecture() {
    let known = "llama, qwen2, qwen3";
    with(
        "architectures",
        json!(["GPT2LMHeadModel"]),
        &["GPT2LMHeadModel", known],
    );
    let model = Copy::of("llama-tied-tiny").with_config("architectures", Value::Null);
    model.edit("config.json", |config| {
        config["model_type"] = json!("mamba")
    });
    refused(&["bench", "--model", model.path()], &["mamba", known]);
}

#[test]
fn an_unknown_rope_kind() {
    let scaling = json!({"rope_type": "longrope", "factor": 4.0});
    with("rope_scaling", scaling, &["longrope", "llama3", "yarn"]);
    with(
        "rope_parameters",
        json!({"rope_type": "su"}),
        &["su", "linear"],
    );
}

#[test]
fn rope_numbers_that_are_wrong() {
    with("rope_theta", json!(0), &["rope_theta is 0"]);
    with(
        "rope_scaling",
        json!({"rope_type": "yarn", "factor": 0}),
        &["factor is 0"],
    );
}

#[test]
fn sizes_that_are_no_sizes() {
    with("hidden_size", json!("72"), &["\"72\""]);
    with("hidden_size", json!(-72), &["-72"]);
    with("vocab_size", json!(51.2), &["51.2"]);
    with(
        "num_attention_heads",
        json!(0),
        &["num_attention_heads is 0"],
    );
    with(
        "num_key_value_heads",
        json!(0),
        &["num_key_value_heads is 0"],
    );
    with(
        "num_key_value_heads",
        json!(4),
        &["num_attention_heads is 9", "multiple", "(4)"],
    );
    with("num_hidden_layers", json!(0), &["num_hidden_layers is 0"]);
    with(
        "max_position_embeddings",
        json!(0),
        &["max_position_embeddings is 0"],
    );
    with("hidden_size", Value::Null, &["hidden_size is missing"]);
    with("head_dim", json!(11), &["head_dim is 11", "even"]);
    with("rms_norm_eps", json!(-1.0), &["rms_norm_eps is -1"]);
    with("hidden_act", json!("gelu"), &["hidden_act", "gelu", "silu"]);
    with("torch_dtype", json!("int8"), &["int8", "bfloat16"]);
}

#[test]
fn sizes_that_no_machine_could_hold() {
    // Checked before anything is allocated, multiplied or listed.
    with(
        "num_hidden_layers",
        json!(1u32 << 31),
        &["num_hidden_layers is 2147483648"],
    );
    with(
        "vocab_size",
        json!(u64::MAX),
        &["config.json", "vocab_size"],
    );
    let model = Copy::of("llama-tied-tiny").with_config("vocab_size", json!(1u32 << 31));
    let args = [
        "generate",
        "--dummy-weights",
        "--prompt-ids",
        "1",
        "--model",
        model.path(),
    ];
    refused(&args, &[model.path(), "618.5 GB", "--layers"]);
}

#[test]
fn a_config_that_is_not_json() {
    let model = Copy::of("llama-tied-tiny");
    for text in [&b""[..], b"{", b"[]", b"null", b"\xff\xfe"] {
        model.write("config.json", text);
        refused(&["bench", "--model", model.path()], &["config.json"]);
    }
}

#[test]
fn quantisations_that_are_not_known_are_refused_by_name() {
    for (config, kind) in [
        (json!({"quant_method": "awq", "bits": 4}), "by awq"),
        (json!({"quant_method": "fp8"}), "a scale for each tensor"),
        (
            json!({"quant_method": "fp8", "fmt": "e5m2", "weight_block_size": [128, 128]}),
            "fp8 in e5m2",
        ),
    ] {
        let model = Copy::of("qwen3-fp8-tiny").with_config("quantization_config", config);
        refused(
            &["bench", "--model", model.path()],
            &[
                "config.json",
                kind,
                "weight_block_size",
                "use such a checkpoint",
            ],
        );
    }
}

#[test]
fn more_choices_than_experts() {
    let model = Copy::of("qwen3-moe-tiny").with_config("num_experts_per_tok", json!(9));
    refused(
        &["bench", "--model", model.path()],
        &["config.json", "num_experts_per_tok is 9", "8 experts"],
    );
}

#[test]
fn more_layers_than_there_are() {
    let model = fixture("llama-tied-tiny");
    refused(
        &["bench", "--model", &model, "--layers", "3"],
        &["--layers 3", "2 layers"],
    );
}
