//! What each engine is told beside a model and a card, and what comes of it.

use serde_json::Value;

use super::{fit, number, text};
use crate::cli_support;

const CONFIGS: &str = "tests/fixtures/calibration/configs";

fn config(name: &str) -> String {
    format!("--model {CONFIGS}/{name}.json")
}

fn first_fix(answer: &Value) -> &str {
    text(&answer["fixes"][0], "change")
}

#[test]
fn llama_cpp_leaves_experts_to_the_host() {
    let ask = "--engine llama.cpp --model Qwen3-235B-A22B --gpu rtx4090-24g --quantization Q4_K_M --max-model-len 32768";
    assert_eq!(text(&fit(ask), "verdict"), "NO_WEIGHTS");
    let answer = fit(&format!("{ask} --n-cpu-moe 94"));
    assert_eq!(text(&answer, "verdict"), "FITS");
    // Attention, embedding and head alone: 235B - 94 x 128 experts, of 4.89 bits.
    let weights = number(&answer["per_rank"], "weights_gib");
    assert!((4.0..4.5).contains(&weights), "{weights}");
    let half = fit(&format!("{ask} --n-cpu-moe 47"));
    assert!(number(&half["per_rank"], "weights_gib") > 10.0 * weights);
}

#[test]
fn llama_cpp_keeps_windows_unless_it_is_told() {
    let ask = format!(
        "--engine llama.cpp {} --gpu rtx4090-24g --quantization Q4_K_M --max-model-len 65536",
        config("google__gemma-3-27b-it")
    );
    assert_eq!(text(&fit(&ask), "verdict"), "FITS");
    // 62 layers x 2 x 16 heads x 128 x 2 B x 65,536 tokens are 31 GiB.
    assert_eq!(text(&fit(&format!("{ask} --swa-full")), "verdict"), "LEN");
}

#[test]
fn flags_of_another_engine_are_refused() {
    for flags in ["--engine vllm --n-cpu-moe 3", "--engine sglang --swa-full"] {
        let mut args = vec!["fit", "--model", "QwQ-32B", "--gpu", "h100-sxm"];
        args.extend(flags.split(' '));
        let outcome = cli_support::run(&args);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
    }
}

#[test]
fn vllm_does_not_start_with_a_share_that_is_not_free() {
    let ask = "--engine vllm --model Qwen3-0.6B --gpu rtx4090-24g --gpu-memory-utilization";
    let answer = fit(&format!("{ask} 1.0"));
    assert_eq!(text(&answer, "verdict"), "UNSUPPORTED");
    assert!(text(&answer, "rule").starts_with("Free memory on device (23.25/23.55 GiB)"));
    assert_eq!(first_fix(&answer), "--gpu-memory-utilization 0.95");
    assert_eq!(text(&fit(&format!("{ask} 0.95")), "verdict"), "FITS");
    // Releases before did not look.
    let old = fit(&format!("{ask} 1.0 --vllm-version 0.6.4 --enforce-eager"));
    assert_eq!(text(&old, "verdict"), "FITS");
}

#[test]
fn smaller_weights_and_a_shorter_context_are_one_fix() {
    let answer = fit("--model QwQ-32B --gpu rtx4090-24g --gpus 2");
    let change = first_fix(&answer);
    assert!(
        change.starts_with("an FP8 checkpoint of the model, --max-model-len "),
        "{change}"
    );
    let answer = fit("--engine vllm --model QwQ-32B --gpu rtx4090-24g");
    let change = first_fix(&answer);
    let flags = change.strip_prefix("--quantization bitsandbytes").unwrap();
    let again = format!(
        "--engine vllm --model QwQ-32B --gpu rtx4090-24g --quantization bitsandbytes{flags}"
    );
    assert_eq!(text(&fit(&again), "verdict"), "FITS");
}

#[test]
fn what_a_card_must_have_for_weights_is_by_release() {
    let verdict = |model: &str, flags: &str| {
        let ask = format!(
            "--engine vllm {} {flags} --max-model-len 4096",
            config(model)
        );
        text(&fit(&ask), "verdict").to_owned()
    };
    let fp8 = |version: &str, gpu: &str| {
        verdict(
            "Qwen__Qwen3-0.6B-FP8",
            &format!("--dtype f16 --gpu {gpu} --vllm-version {version}"),
        )
    };
    assert_eq!(fp8("0.10.2", "t4"), "UNSUPPORTED");
    assert_eq!(fp8("0.13.0", "t4"), "UNSUPPORTED");
    assert_eq!(fp8("0.14.0", "t4"), "FITS");
    assert_eq!(fp8("0.10.2", "rtx3090"), "FITS");
    let w4a16 = |version: &str| {
        let flags = format!("--dtype f16 --gpu t4 --vllm-version {version}");
        verdict(
            "RedHatAI__Meta-Llama-3.1-8B-Instruct-quantized.w4a16",
            &flags,
        )
    };
    assert_eq!(w4a16("0.11.2"), "UNSUPPORTED");
    assert_eq!(w4a16("0.12.0"), "FITS");
}

/// One server, whoever asks about it.
#[test]
fn a_simulated_server_has_the_limits_that_fit_has() {
    for gpu in ["h100-sxm", "l40s"] {
        let answer = fit(&format!("--engine vllm --model Qwen3-0.6B --gpu {gpu}"));
        let device = format!("sim:{gpu}");
        let served = cli_support::run(&[
            "bench",
            "--model",
            "Qwen3-0.6B",
            "--device",
            &device,
            "--server",
            "vllm",
            "--concurrency",
            "2",
            "--requests",
            "2",
            "--output-len",
            "2",
            "--warmup",
            "0",
            "--json",
        ]);
        let engine = &served.json()["engine"];
        for limit in ["max_num_seqs", "max_num_batched_tokens"] {
            assert_eq!(engine[limit], answer[limit], "{gpu}: {limit}");
        }
    }
}

#[test]
fn states_are_kept_for_tokens_that_may_not_be_accepted() {
    let ask = format!(
        "--engine vllm --vllm-version 0.27 --gpu h200 --gpus 2 --max-model-len 64 {}",
        config("ai21labs__AI21-Jamba-Mini-1.7")
    );
    let at_once = |flags: &str| number(&fit(&format!("{ask} {flags}")), "max_concurrency");
    let (alone, drafted) = (at_once(""), at_once("--num-speculative-tokens 3"));
    assert!(
        drafted < 0.5 * alone && drafted > 0.2 * alone,
        "{drafted} of {alone}"
    );
}

/// States to KV cache as 0.9 to 1, as its documentation has it.
#[test]
fn sglang_divides_what_is_left_between_states_and_cache() {
    let answer = fit(&format!(
        "--engine sglang --gpu h200 --gpus 2 {}",
        config("ai21labs__AI21-Jamba-Mini-1.7")
    ));
    let rank = &answer["per_rank"];
    let gib = |part: &str| number(rank, &format!("{part}_gib"));
    let left = gib("budget") - gib("weights") - gib("overhead");
    assert!((gib("kv") * 1.9 - left).abs() < 0.01, "{rank}");
}

/// 27 layers: K and V of 16 heads of 256, a latent of 576 in lines of 128, and the same as it is.
#[test]
fn what_is_kept_of_latents_is_by_release() {
    let ask = |release: &str| {
        let answer = fit(&format!(
            "{} --gpu a100-80g --engine vllm --vllm-version {release} --max-model-len 8192",
            config("deepseek-ai__DeepSeek-V2-Lite-Chat")
        ));
        let weights = number(&answer["per_rank"], "weights_gib");
        (number(&answer, "kv_bytes_per_token"), weights)
    };
    let [old, absorbed, now] = ["0.6.3", "0.7.3", "0.9.0"].map(ask);
    assert_eq!([old.0, absorbed.0, now.0], [442_368.0, 34_560.0, 31_104.0]);
    // W_Q_UK, W_UV_O and W_QR beside them.
    let products = 27.0 * 16.0 * (512.0 * (2048.0 + 2048.0) + 2048.0 * 64.0) * 2.0;
    let more = absorbed.1 - now.1;
    assert!(
        (more * (1u64 << 30) as f64 / products - 1.0).abs() < 0.01,
        "{more}"
    );
    assert_eq!(old.1, now.1);
}
