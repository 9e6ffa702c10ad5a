//! Weights that this engine does not run: on a simulated card other engines' kernels read them.

use std::fs;
use std::path::Path;

use candlepower::hub::cards;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli_support::{refused, run};

/// A checkpoint's configuration, with its weights as `quantization` says.
pub fn write(dir: &Path, quantization: Option<Value>) -> String {
    let card = cards::find("DeepSeek-R1-Distill-Llama-8B").unwrap();
    let mut config: Value = serde_json::from_str(card.config_json).unwrap();
    config["torch_dtype"] = json!("float16");
    if let Some(quantization) = quantization {
        config["quantization_config"] = quantization;
    }
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    dir.to_str().unwrap().to_owned()
}

pub fn awq() -> Value {
    json!({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true, "version": "gemm"})
}

fn gptq_in_8_bits() -> Value {
    json!({"quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": false, "sym": true})
}

fn args<'a>(model: &'a str, server: &'a str) -> Vec<&'a str> {
    let load = [
        "--concurrency",
        "1",
        "--requests",
        "1",
        "--output-len",
        "20",
    ];
    let of = ["bench", "--device", "sim:rtx4090-24g", "--model", model];
    [&of[..], &load, &["--server", server, "--json"]].concat()
}

fn tpot_ms(quantization: Option<Value>) -> f64 {
    let dir = TempDir::new().unwrap();
    let model = write(dir.path(), quantization);
    let results = run(&args(&model, "engine")).succeeded().json();
    let tpot = &results["runs"][0]["extended"]["mean_tpot_ms"];
    tpot.as_f64().unwrap()
}

/// 15.0 GB of weights a step, 8.1 or 4.7: a byte or half of one for each but the head's, and scales.
#[test]
fn fewer_bytes_take_less_time() {
    let [plain, eight, four] = [None, Some(gptq_in_8_bits()), Some(awq())].map(tpot_ms);
    let read = |bytes: f64| 1e3 * bytes / (0.90 * 1008e9);
    for (less, more, bytes) in [(eight, plain, 6.9e9), (four, plain, 10.3e9)] {
        let saved = (more - less) / read(bytes);
        assert!((0.95..1.05).contains(&saved), "{less} of {more} ms");
    }
}

#[test]
fn own_kernels_do_not_read_them() {
    let dir = TempDir::new().unwrap();
    let model = write(dir.path(), Some(awq()));
    refused(&args(&model, "none"), &["awq", "--server engine"]);
    let of_cpu = [
        "bench",
        "--device",
        "cpu",
        "--model",
        &model,
        "--dummy-weights",
    ];
    refused(&of_cpu, &["awq"]);
}
