//! The report's mixtures of experts on four kinds of nodes: verdicts, and what is left for the KV cache.

use super::{fit, number, text};

/// GPU and number of them.
const NODES: [(&str, usize); 4] = [
    ("rtx4090-48g", 8),
    ("l40s", 8),
    ("h100-sxm", 4),
    ("a100-80g", 8),
];

fn ask(model: &str, (gpu, gpus): (&str, usize), more: &str) -> serde_json::Value {
    fit(&format!("--model {model} --gpu {gpu} --gpus {gpus} {more}"))
}

/// In bf16 a rank of eight holds 54.9 GiB and one of four twice that: only the largest memories take it.
#[test]
fn in_bf16_it_runs_on_eight_cards_of_80_gib_only() {
    for node in NODES {
        for engine in ["candlepower", "vllm"] {
            for experts in ["", "--expert-parallel"] {
                let more = format!("--engine {engine} {experts}");
                let answer = ask("Qwen3-235B-A22B", node, &more);
                let fits = node.0 == "a100-80g";
                let verdict = if fits { "FITS" } else { "NO_WEIGHTS" };
                assert_eq!(text(&answer, "verdict"), verdict, "{node:?} {more}");
                let weights = number(&answer["per_rank"], "weights_gib");
                let known = if node.1 == 8 { 54.9 } else { 109.6 };
                assert!((weights - known).abs() < 0.2, "{node:?} {more}: {weights}");
                if fits {
                    let tokens = number(&answer, "kv_tokens");
                    assert!((320_000.0..340_000.0).contains(&tokens), "{tokens}");
                }
            }
        }
    }
}

/// Ours takes slices of 192 rows of 128-row blocks, vLLM only whole blocks: at eight ranks whole experts.
#[test]
fn in_fp8_it_runs_on_all_of_them() {
    for (node, known) in NODES.into_iter().zip([303.3, 244.0, 329.1, 943.4]) {
        for experts in ["", "--expert-parallel"] {
            let ours = ask("Qwen3-235B-A22B-FP8", node, experts);
            assert_eq!(text(&ours, "verdict"), "FITS", "{node:?}");
            let tokens = number(&ours, "kv_tokens") / 1e3;
            assert!((tokens / known - 1.0).abs() < 0.02, "{node:?}: {tokens}");
            let theirs = ask(
                "Qwen3-235B-A22B-FP8",
                node,
                &format!("--engine vllm {experts}"),
            );
            let cut = node.1 == 8 && experts.is_empty();
            let verdict = if cut { "UNSUPPORTED" } else { "FITS" };
            assert_eq!(text(&theirs, "verdict"), verdict, "{node:?} {experts}");
            if cut {
                assert!(text(&theirs, "reason").contains("192 is not divisible"));
            }
        }
    }
}
