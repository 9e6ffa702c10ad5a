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

/// On eight ranks one KV head of 64 features is half a block of 128: q, k and v are one matrix, and so are gate and up.
#[test]
fn several_matrices_in_one_may_end_within_a_block_by_release() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = json!({
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
        "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    });
    std::fs::write(&path, config.to_string()).unwrap();
    let eight = |release: &str| {
        ask(
            &path,
            &format!("--gpus 8 --engine vllm --vllm-version {release}"),
        )
    };
    let older = eight("0.13");
    assert_eq!(text(&older, "verdict"), "UNSUPPORTED");
    assert!(
        text(&older, "reason").contains("64 is not divisible"),
        "{older}"
    );
    assert_eq!(text(&eight("0.14"), "verdict"), "FITS");
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

const FLASH: &str = "deepseek-ai/DeepSeek-V4-Flash";

/// DeepSeek-V4: the start that a log of 0.22 tells of, and the longest that would have fit there (vllm#44376).
#[test]
fn compressed_latents_lie_in_pages_of_many_kinds() {
    let quantization = json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    let more = [
        ("quantization_config", quantization),
        ("expert_dtype", json!("fp4")),
    ];
    let (_folder, path) = config(FLASH, &more);
    let two = |more: &str| {
        let limits = "--gpus 2 --expert-parallel --gpu-memory-utilization 0.95 --max-num-batched-tokens 16384";
        ask(
            &path,
            &format!("{limits} --engine vllm --vllm-version 0.22 {more}"),
        )
    };
    let answer = two("--gpu-memory 94.5 --max-model-len 30000");
    assert_eq!(text(&answer, "verdict"), "LEN", "{answer}");
    let reason = text(&answer, "reason");
    assert!(reason.contains("needs 6.66 GiB of KV cache"), "{reason}");
    // With as much as was logged, 5.44 GiB, a request of 13,528 tokens fits, and hardly one more.
    let kv = number(&answer["per_rank"], "kv_gib");
    let memory = 94.5 + (5.44 - kv) / 0.95;
    let answer = two(&format!("--gpu-memory {memory:.4} --max-model-len 30000"));
    let longest = number(&answer, "max_model_len_that_fits");
    assert!((longest / 13_528.0 - 1.0).abs() < 2e-3, "{longest}");
}

#[test]
fn compressed_latents_are_answered_where_their_layout_is_known() {
    let (_folder, path) = config(FLASH, &[]);
    for (more, said) in [
        ("", "own engine does not run"),
        ("--engine sglang", "SGLang"),
        ("--engine llama.cpp", "llama.cpp"),
        ("--engine vllm --vllm-version 0.19", "from 0.20 on"),
        (
            "--engine vllm --vllm-version 0.21 --kv-cache-dtype bf16",
            "FP8",
        ),
    ] {
        let answer = ask(&path, &format!("--gpus 8 {more}"));
        assert_eq!(text(&answer, "verdict"), "UNSUPPORTED", "{more}");
        let reason = text(&answer, "reason");
        assert!(
            reason.contains(said) && reason.contains("deepseek_v4"),
            "{reason}"
        );
    }
}

/// DeepSeek-V3.2: a latent of 576 in FP8 with scales and 64 in 16 bits, 656 B, and a key of 128 with a scale beside it:
/// 43.67 GiB for 975,424 tokens on B200 (sglang#11309).
#[test]
fn an_indexer_keeps_keys_beside_the_latents() {
    let more = [
        ("model_type", json!("deepseek_v32")),
        ("index_head_dim", json!(128)),
        ("index_n_heads", json!(64)),
    ];
    let (_folder, path) = config("deepseek-ai/DeepSeek-V3", &more);
    let token = |gpu: &str, more: &str| {
        let model = path.display();
        let answer = fit(&format!("--model {model} --gpu {gpu} --gpus 16 {more}"));
        number(&answer, "kv_bytes_per_token")
    };
    let logged = 43.67 * (1_u64 << 30) as f64 / 975_424.0;
    let sglang = token("b200", "--engine sglang");
    assert!((sglang / logged - 1.0).abs() < 1e-3, "{sglang} {logged}");
    let of_61 = |each: usize| (61 * each) as f64;
    for (gpu, more, each) in [
        ("h200", "--engine sglang", 1152 + 132),
        ("h200", "--engine vllm --vllm-version 0.11", 656 + 132),
        ("h200", "--engine vllm --vllm-version 0.12", 1152 + 132),
        (
            "h200",
            "--engine vllm --vllm-version 0.12 --kv-cache-dtype fp8",
            656 + 132,
        ),
    ] {
        assert_eq!(token(gpu, more), of_61(each), "{gpu} {more}");
    }
    // Layers that read what an earlier one picked have no key.
    let types: Vec<&str> = (0..61)
        .map(|n| if n % 2 == 0 { "full" } else { "shared" })
        .collect();
    let more = [more.to_vec(), vec![("indexer_types", json!(types))]].concat();
    let (_folder, shared) = config("deepseek-ai/DeepSeek-V3", &more);
    let answer = ask(&shared, "--gpus 16 --engine vllm --vllm-version 0.12");
    assert_eq!(
        number(&answer, "kv_bytes_per_token"),
        (61 * 1152 + 31 * 132) as f64
    );
}

/// Gemma 4: ten layers see all tokens by K alone; vLLM loads its weights into the place of V's too, and keeps both.
#[test]
fn k_that_stands_for_v_lies_twice_in_memory() {
    let model = "google/gemma-4-31B-it (text)";
    let (_folder, path) = config(model, &[]);
    let answer = ask(
        &path,
        "--gpus 2 --engine vllm --vllm-version 0.21 --explain",
    );
    let copies = 10.0 * 4.0 * 512.0 * 5376.0 * 2.0 / 2.0 / (1_u64 << 30) as f64;
    let said = format!("{copies:.2} of K's weights in the place of V's");
    assert!(answer.to_string().contains(&said), "{said}: {answer}");
    let (_folder, path) = config(model, &[]);
    let own = ask(&path, "--gpus 2 --engine sglang");
    let weights = |answer: &Value| number(&answer["per_rank"], "weights_gib");
    assert!(weights(&answer) > weights(&own) + copies, "{answer} {own}");
}
