//! Caches whose layers are not all alike, as each engine lays them out.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{fit, number, text};

/// The configuration of a family's fixture, with `more` in it.
fn config(model: &str, more: &[(&str, Value)]) -> (TempDir, PathBuf) {
    let rows: Vec<Value> =
        serde_json::from_str(include_str!("../../fixtures/fit/families.json")).unwrap();
    let row = rows.iter().find(|row| row["model"] == model).unwrap();
    let mut config = row["config"].clone();
    for (key, value) in more {
        config[*key] = value.clone();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    (folder, path)
}

fn ask(path: &std::path::Path, more: &str) -> Value {
    fit(&format!("--model {} --gpu h200 {more}", path.display()))
}

/// MiMo-V2: K of 192 and V of 128 features; 9 layers of 4 heads see all tokens, 39 of 8 a window.
#[test]
fn k_and_v_of_different_widths_are_kept_by_release() {
    let blocks = json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    let (_folder, path) = config(
        "XiaomiMiMo/MiMo-V2-Flash",
        &[("quantization_config", blocks)],
    );
    let four = |engine: &str| ask(&path, &format!("--gpus 4 --engine {engine}"));
    // A rank has one head of K, 192 rows of blocks of 128.
    let older = four("vllm --vllm-version 0.13");
    assert_eq!(text(&older, "verdict"), "UNSUPPORTED");
    assert!(text(&older, "reason").contains("192 is not divisible"));
    // Six layers more fill up groups of nine.
    let token = |width: usize| ((9 + 2 * 45) * width * 2) as f64;
    for (engine, width) in [
        ("vllm --vllm-version 0.19", 384),
        ("vllm --vllm-version 0.20", 320),
    ] {
        let answer = four(engine);
        assert_eq!(text(&answer, "verdict"), "FITS", "{answer}");
        assert_eq!(
            number(&answer, "kv_bytes_per_token"),
            token(width),
            "{engine}"
        );
    }
    // As its log has it: 41.76 + 27.84 + 4.82 + 3.21 GiB for 1,496,958 tokens (sglang#15464).
    let logged = 77.63 * (1_u64 << 30) as f64 / 1_496_958.0;
    let sglang = number(&four("sglang"), "kv_bytes_per_token");
    assert!((sglang / logged - 1.0).abs() < 1e-3, "{sglang} {logged}");
}

/// Step 3.5: layers with a window have 96 query heads, the others 64; 8 KV heads in both.
#[test]
fn layers_with_a_window_may_have_more_heads() {
    let (_folder, path) = config("stepfun-ai/Step-3.5-Flash", &[]);
    let answer = ask(&path, "--gpus 4 --engine vllm --vllm-version 0.21");
    assert_eq!(text(&answer, "verdict"), "FITS", "{answer}");
    // 12 of 45 layers keep everything.
    let token = (12 + 36) * 2 * 2 * 128 * 2;
    assert_eq!(number(&answer, "kv_bytes_per_token"), f64::from(token));
    let (_folder, alike) = config(
        "stepfun-ai/Step-3.5-Flash",
        &[("attention_other_setting", Value::Null)],
    );
    let weights = |path| {
        let answer = ask(path, "--gpus 4 --engine vllm --vllm-version 0.21");
        number(&answer["per_rank"], "weights_gib")
    };
    // Queries, their gates and what comes out of 32 heads more, in 33 layers.
    let more = 33.0 * 32.0 * 4096.0 * (2.0 * 128.0 + 1.0) * 2.0 / 4.0 / (1_u64 << 30) as f64;
    let found = weights(&path) - weights(&alike);
    assert!((found - more).abs() < 0.02, "{found} {more}");
}
