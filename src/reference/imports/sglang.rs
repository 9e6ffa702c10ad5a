//! Results of SGLang's `bench_serving`, whatever server it was played against, and of `bench_offline_throughput`.

use serde_json::Value;

use super::draft::{Draft, EXACT, Percentiles, ROUNDED};
use super::value::{first, has_any, number, text};
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
/// Keys of the offline benchmark alone.
const OFFLINE: [&str; 2] = ["last_gen_throughput", "total_latency"];
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
    played(draft(value, source), value, EXACT)
}

/// What is printed, under the names that a file has.
pub fn printed(value: &Value, source: &str) -> ReferenceRun {
    played(draft(value, source).printed(), value, ROUNDED)
}

fn draft(value: &Value, source: &str) -> Draft {
    let tool = match has_any(value, &OFFLINE) {
        true => "SGLang bench_offline_throughput",
        false => "SGLang bench_serving",
    };
    Draft::new(tool, source, Percentiles::Linear)
}

fn played(mut draft: Draft, value: &Value, part: f64) -> ReferenceRun {
    let backend = text(value, &["backend"]).unwrap_or_default();
    let is_native = matches!(&*backend, "sglang" | "sglang-native" | "engine" | "runtime");
    draft.run.backend = if is_native {
        "SGLang".to_owned()
    } else {
        backend
    };
    draft.run.model = text(value, &MODEL).unwrap_or_default();
    vllm::totals(&mut draft, value);
    // Of the offline benchmark, whose names differ.
    if draft.figure("completed").is_none() {
        draft.ours("completed", number(value, "successful_requests"));
    }
    if draft.figure("duration").is_none() {
        draft.ours("duration", number(value, "total_latency"));
    }
    draft.beside(
        "last_gen_throughput",
        number(value, "last_gen_throughput"),
        "output tokens a second of the server's last report",
    );
    let total = first(value, &["total_throughput", "total_token_throughput"]);
    draft.ours("total_token_throughput", total);
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
    draft.check_rates(part);
    let summed = || {
        let latencies = draft.figure("mean_e2el_ms")? / 1e3 * draft.figure("completed")?;
        Some(latencies / draft.figure("duration")?)
    };
    let (stated, computed) = (draft.figure("mean_in_flight"), summed());
    draft.check("latencies / duration = concurrency", stated, computed, part);
    let tokens = draft.figure("total_output_tokens");
    if let Some((again, tokens)) = again.zip(tokens).filter(|(a, t)| (a - t).abs() > 0.01 * t) {
        draft.note(format!(
            "does not add up: {tokens} output tokens, {again} in the texts tokenised again"
        ));
    }
    draft.finish()
}
