//! Results of SGLang's `bench_serving`, whatever server it was played against.

use serde_json::Value;

use super::draft::{Draft, EXACT, Percentiles};
use super::value::{has_any, number, text};
use super::vllm;
use crate::ground::results::ReferenceRun;
use crate::reference::rules::{CHUNK_GAP, CHUNK_GAP_SHARED};

/// Keys that vLLM's files have not.
const OWN: [&str; 6] = [
    "sharegpt_output_len",
    "random_range_ratio",
    "total_throughput",
    "total_output_tokens_retokenized",
    "mean_e2e_latency_ms",
    "median_e2e_latency_ms",
];
const MODEL: [&str; 5] = [
    "model_id",
    "model",
    "server_info.served_model_name",
    "server_info.model_path",
    "server_info.server_args.model_path",
];

pub fn is(value: &Value) -> bool {
    has_any(value, &OWN) && has_any(value, &["completed", "output_throughput", "duration"])
}

pub fn read(value: &Value, source: &str) -> ReferenceRun {
    let mut draft = Draft::new("SGLang bench_serving", source, Percentiles::Linear);
    let backend = text(value, &["backend"]).unwrap_or_default();
    let is_native = matches!(&*backend, "sglang" | "sglang-native");
    draft.run.backend = if is_native {
        "SGLang".to_owned()
    } else {
        backend
    };
    draft.run.model = text(value, &MODEL).unwrap_or_default();
    vllm::totals(&mut draft, value);
    draft.ours("total_token_throughput", number(value, "total_throughput"));
    draft.ours("mean_in_flight", number(value, "concurrency"));
    vllm::latencies(&mut draft, value);
    vllm::redefine(
        &mut draft,
        if is_native {
            CHUNK_GAP_SHARED
        } else {
            CHUNK_GAP
        },
    );
    let again = number(value, "total_output_tokens_retokenized");
    draft.beside(
        "total_output_tokens_retokenized",
        again,
        "output tokens, of the answers' texts tokenised again",
    );
    draft.beside(
        "accept_length",
        number(value, "accept_length"),
        "tokens accepted a step of speculative decoding",
    );
    draft.check_rates(EXACT);
    let summed = || {
        let latencies = draft.figure("mean_e2el_ms")? / 1e3 * draft.figure("completed")?;
        Some(latencies / draft.figure("duration")?)
    };
    let (stated, computed) = (draft.figure("mean_in_flight"), summed());
    draft.check(
        "latencies / duration = concurrency",
        stated,
        computed,
        EXACT,
    );
    let tokens = draft.figure("total_output_tokens");
    if let Some((again, tokens)) = again.zip(tokens).filter(|(a, t)| (a - t).abs() > 0.01 * t) {
        draft.note(format!(
            "does not add up: {tokens} output tokens, {again} in the texts tokenised again"
        ));
    }
    draft.finish()
}
