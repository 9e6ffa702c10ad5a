//! Results of SGLang's `bench_one_batch` and `bench_one_batch_server`: one batch of equal requests, timed as a whole.
//! Its rates are of its two halves, and none is a run's.

use serde_json::Value;

use super::draft::{Draft, EXACT, Percentiles};
use super::value::{count, first, has, has_any, number, text};
use crate::ground::results::ReferenceRun;

/// Names of the figures, and what they are.
const FIGURES: [(&str, &str); 13] = [
    ("prefill_latency", "seconds of the batch's prompts"),
    (
        "prefill_throughput",
        "prompt tokens of the batch / seconds of its prompts",
    ),
    (
        "median_decode_latency",
        "seconds of a step that makes one token of each request, median over steps",
    ),
    (
        "median_decode_throughput",
        "requests of the batch / median seconds of a step",
    ),
    ("total_latency", BATCH),
    ("latency", BATCH),
    ("ttft", FIRST),
    ("last_ttft", FIRST),
    (
        "input_throughput",
        "prompt tokens of the batch / seconds to its first token",
    ),
    (
        "output_throughput",
        "output tokens of the batch / seconds after its first token",
    ),
    (
        "overall_throughput",
        "prompt and output tokens of the batch / its seconds",
    ),
    (
        "last_gen_throughput",
        "output tokens a second of the server's last report",
    ),
    (
        "acc_length",
        "tokens accepted a step of speculative decoding",
    ),
];
const BATCH: &str = "seconds of the whole batch, from its prompts to its last tokens";
const FIRST: &str = "seconds to the first token of the batch's last request that has one";
/// Of the server's results, which are rounded to some digits.
const PART: f64 = 1e-2;

pub fn is(value: &Value) -> bool {
    has(value, &["batch_size", "input_len", "output_len"])
        && has_any(value, &["prefill_latency", "latency"])
        && value.get("overall_throughput").is_some()
}

pub fn read(value: &Value, source: &str) -> ReferenceRun {
    let is_server = value.get("prefill_latency").is_none();
    let tool = match is_server {
        true => "SGLang bench_one_batch_server",
        false => "SGLang bench_one_batch",
    };
    let mut draft = Draft::new(tool, source, Percentiles::Linear);
    draft.run.backend = "SGLang".to_owned();
    draft.run.model = text(value, &["model_path"]).unwrap_or_default();
    let whole = |name: &str| number(value, name).and_then(count).map(|n| n as usize);
    let (batch, input, output) = (whole("batch_size"), whole("input_len"), whole("output_len"));
    draft.run.concurrency = batch;
    draft.run.requests = batch.map(|batch| batch as u64);
    (draft.run.input_len, draft.run.output_len) = (input, output);
    draft.run.tokens_per_request = output.map(|tokens| tokens as f64);
    for (name, definition) in FIGURES {
        draft.beside(name, number(value, name), definition);
    }
    let tokens = || Some(batch? as f64 * (input?.checked_add(output?)?) as f64);
    let seconds = first(value, &["total_latency", "latency"]);
    let computed = tokens()
        .zip(seconds)
        .map(|(tokens, seconds)| tokens / seconds);
    draft.check(
        "all tokens / latency = overall_throughput",
        number(value, "overall_throughput"),
        computed,
        if is_server { PART } else { EXACT },
    );
    draft.finish()
}
