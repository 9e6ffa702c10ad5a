//! Weights whose quantisation is told elsewhere than under `quantization_config`: never taken for bf16. The engine
//! refuses them, `fit` says what it goes by.

use serde_json::{Value, json};

use crate::cli_support::{Copy, refused, run};

fn refused_as(model: &Copy, parts: &[&str]) {
    refused(
        &["bench", "--model", model.path(), "--dummy-weights"],
        parts,
    );
}

fn fit(model: &Copy) -> [&str; 5] {
    ["fit", "--gpu", "rtx4090-24g", "--model", model.path()]
}

/// These files are in bf16, so `fit` has what they say beside what they hold.
fn told_by_fit(model: &Copy) {
    let answer = run(&fit(model)).succeeded().stdout;
    let words = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("bytes are those of the headers"), "{answer}");
}

#[test]
fn beside_the_configuration() {
    let algorithm = |name: Value| json!({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": name}});
    for (file, content, parts) in [
        (
            "hf_quant_config.json",
            algorithm(json!("FP8")),
            ["ModelOpt in FP8", "by hf_quant_config.json"],
        ),
        (
            "hf_quant_config.json",
            algorithm(json!("NVFP4")),
            ["ModelOpt in NVFP4", "bf16"],
        ),
        (
            "quantize_config.json",
            json!({"bits": 4, "group_size": 128}),
            ["GPTQ in 4 bits", "by quantize_config.json"],
        ),
        (
            "quant_config.json",
            json!({"w_bit": 4, "q_group_size": 128}),
            ["AWQ in 4 bits", "by quant_config.json"],
        ),
    ] {
        let model = Copy::of("llama-tied-tiny");
        model.write(file, content.to_string());
        refused_as(&model, &parts);
        told_by_fit(&model);
    }
    // Nothing but the KV cache is quantised.
    let model = Copy::of("llama-tied-tiny");
    model.write("hf_quant_config.json", algorithm(Value::Null).to_string());
    let args = [
        "generate",
        "--model",
        model.path(),
        "--prompt-ids",
        "1",
        "--max-tokens",
        "1",
    ];
    run(&args).succeeded();
    model.write("hf_quant_config.json", "{");
    refused_as(&model, &["hf_quant_config.json", "line 1"]);
    refused(&fit(&model), &["hf_quant_config.json", "line 1"]);
}

#[test]
fn under_another_key() {
    for (key, content, part) in [
        (
            "compression_config",
            json!({"quant_method": "compressed-tensors", "format": "pack-quantized"}),
            "by compressed-tensors",
        ),
        (
            "compression_config",
            json!({"format": "pack-quantized"}),
            "by an unnamed method",
        ),
        (
            "quantization",
            json!({"group_size": 64, "bits": 4}),
            "by MLX in 4 bits",
        ),
        (
            "quantization",
            json!({"quant_algo": "W4A16_AWQ"}),
            "by W4A16_AWQ",
        ),
        (
            "quantization_config",
            json!({"load_in_4bit": true}),
            "by bitsandbytes",
        ),
        (
            "quantization_config",
            json!({"bits": 3}),
            "by an unnamed method in 3 bits",
        ),
    ] {
        let model = Copy::of("llama-tied-tiny").with_config(key, content);
        refused_as(&model, &["config.json", part]);
        told_by_fit(&model);
    }
    let model = Copy::of("llama-tied-tiny").with_config("quantization_config", json!("int4"));
    let parts = ["quantization_config is \"int4\"", "an object"];
    refused_as(&model, &parts);
    refused(&fit(&model), &parts);
}
