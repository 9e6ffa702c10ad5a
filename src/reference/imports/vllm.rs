//! Results of `vllm bench serve` (and of the script that it was), `throughput` and `latency`; also our own `vllm.json`.

use serde_json::{Map, Value};

use super::draft::{Draft, EXACT, Percentiles, ROUNDED};
use super::value::{count, first, has, has_any, number, object, rate, text};
use super::vllm_reference;
use crate::ground::results::ReferenceRun;
use crate::reference::rules::{self, CHUNK_GAP, TOKEN_GAP};

/// Latencies by the names of the files, and ours.
const LATENCIES: [(&str, &str); 6] = [
    ("ttft", "ttft"),
    ("tpot", "tpot"),
    ("itl", "itl"),
    ("e2el", "e2el"),
    ("e2e_latency", "e2el"),
    // Of a fork.
    ("latency", "e2el"),
];
/// Tokens a chunk up to which a chunk is taken for a token.
const ONE_TOKEN: f64 = 1.02;
const CHUNKS_A_SECOND: &str = "most chunks of the stream in one second";
/// Requests that may touch one second besides those in flight.
const A_FEW: f64 = 8.0;
const CROWD: &str = "most requests that touched one second";
/// Of speculative decoding, by the files' names.
const SPECULATED: [(&str, &str); 2] = [
    (
        "spec_decode_acceptance_rate",
        "percent of the drafted tokens that were accepted",
    ),
    (
        "spec_decode_acceptance_length",
        "tokens a step of speculative decoding: those of the draft that were accepted, and one",
    ),
];
const SERVE: &str = "vLLM bench serve";
/// Servers that it was played against, where they are not vLLM. `openai` and its like are a way to speak to one.
const OTHERS: [&str; 7] = [
    "candlepower",
    "tgi",
    "tensorrt-llm",
    "sglang",
    "lmdeploy",
    "deepspeed-mii",
    "scalellm",
];

pub fn is_serve(value: &Value) -> bool {
    let of_latency = |name: &String| split(name).is_some();
    let has_latency = object(value).is_some_and(|map| map.keys().any(of_latency));
    has_latency || has(value, &["completed", "output_throughput"])
}

pub fn is_throughput(value: &Value) -> bool {
    has(value, &["elapsed_time", "tokens_per_second"])
}

pub fn is_latency(value: &Value) -> bool {
    has(value, &["avg_latency"]) && has_any(value, &["latencies", "percentiles"])
}

pub fn serve(value: &Value, source: &str) -> ReferenceRun {
    served(Draft::new(SERVE, source, Percentiles::Linear), value, EXACT)
}

/// What is printed, under the names that a file has.
pub fn printed_serve(value: &Value, source: &str) -> ReferenceRun {
    let draft = Draft::new(SERVE, source, Percentiles::Linear).printed();
    served(draft, value, ROUNDED)
}

fn served(mut draft: Draft, value: &Value, part: f64) -> ReferenceRun {
    draft.run.model = text(value, &["model_id", "model"]).unwrap_or_default();
    let server = text(value, &["backend"]).filter(|server| OTHERS.contains(&&**server));
    draft.run.backend = server.unwrap_or_else(|| "vLLM".to_owned());
    totals(&mut draft, value);
    draft.ours(
        "total_token_throughput",
        number(value, "total_token_throughput"),
    );
    latencies(&mut draft, value);
    let gap = match tokens_a_chunk(&draft) {
        Some(tokens) if (1.0 / ONE_TOKEN..ONE_TOKEN).contains(&tokens) => TOKEN_GAP,
        _ => CHUNK_GAP,
    };
    redefine(&mut draft, gap);
    for (name, definition) in SPECULATED {
        draft.beside(name, number(value, name), definition);
    }
    if let Some(course) = text(value, &["ramp_up_strategy"]) {
        let rate = |name| number(value, name).map_or("?".to_owned(), |rate| rate.to_string());
        draft.note(format!(
            "no one load: requests came at a rate that rose from {} to {} a second ({course})",
            rate("ramp_up_start_rps"),
            rate("ramp_up_end_rps")
        ));
    }
    draft.check_rates(part);
    vllm_reference::describe(&mut draft, value);
    draft.finish()
}

/// What vLLM's and SGLang's files call alike.
pub fn totals(draft: &mut Draft, value: &Value) {
    let asked = number(value, "num_prompts");
    let completed = number(value, "completed");
    // Older files have no such count, and it is not made up.
    let failed = number(value, "failed");
    let lost = asked
        .zip(completed)
        .map(|(asked, completed)| asked - completed);
    draft.run.concurrency = number(value, "max_concurrency")
        .and_then(count)
        .map(|limit| limit as usize);
    draft.run.request_rate = rate(value, &["request_rate"]);
    draft.run.requests = asked.and_then(count);
    draft.ours("completed", completed);
    draft.ours("failed", failed);
    for name in [
        "duration",
        "total_input_tokens",
        "total_output_tokens",
        "request_throughput",
        "input_throughput",
        "output_throughput",
        "request_goodput",
    ] {
        draft.ours(name, number(value, name));
    }
    draft.ours("request_goodput", number(value, "request_goodput:"));
    draft.beside(
        "max_output_tokens_per_s",
        number(value, "max_output_tokens_per_s"),
        CHUNKS_A_SECOND,
    );
    let crowd = number(value, "max_concurrent_requests");
    draft.beside("max_concurrent_requests", crowd, CROWD);
    let limit = number(value, "max_concurrency");
    if let Some((crowd, limit)) = crowd
        .zip(limit)
        .filter(|(crowd, limit)| *crowd > 2.0 * limit + A_FEW)
    {
        draft.note(format!(
            "does not add up: {crowd} requests at once under a limit of {limit}: parts of several clients were merged"
        ));
    }
    if let (None, Some(lost)) = (failed, lost.filter(|lost| *lost > 0.0)) {
        draft.note(format!(
            "does not add up: {lost} of {} requests are in no count: they failed, or were left out",
            asked.unwrap_or_default()
        ));
    }
}

/// Every statistic of a latency: `mean_ttft_ms` and its like.
pub fn latencies(draft: &mut Draft, value: &Value) {
    let empty = Map::new();
    let map = object(value).unwrap_or(&empty);
    for (name, figure) in map {
        let Some((statistic, latency)) = split(name) else {
            continue;
        };
        let ours = format!("{statistic}_{latency}_ms");
        draft.ours(&ours, super::value::as_number(figure));
    }
}

/// `p99_e2e_latency_ms` -> `p99`, `e2el`.
fn split(name: &str) -> Option<(&str, &'static str)> {
    let name = name.strip_suffix("_ms")?;
    let (statistic, latency) = name.split_once('_')?;
    let known = matches!(statistic, "mean" | "median" | "std" | "max" | "min");
    let percentile = statistic.strip_prefix('p').is_some_and(rules::is_percent);
    let (_, ours) = LATENCIES.iter().find(|(theirs, _)| *theirs == latency)?;
    (known || percentile).then_some((statistic, *ours))
}

/// The chunks of the whole run follow from latencies and the mean gap between chunks.
fn tokens_a_chunk(draft: &Draft) -> Option<f64> {
    let gap = draft.figure("mean_itl_ms").filter(|gap| *gap > 0.0)?;
    let streamed = |draft: &Draft| {
        let completed = draft.figure("completed")?;
        let after_first = draft.figure("mean_e2el_ms")? - draft.figure("mean_ttft_ms")?;
        let gaps = completed * after_first / gap;
        Some((draft.figure("total_output_tokens")? - completed) / gaps)
    };
    // Without latencies: alike where requests are.
    streamed(draft).or_else(|| Some(gap / draft.figure("mean_tpot_ms")?))
}

/// Gives the gaps their definition.
pub fn redefine(draft: &mut Draft, definition: &str) {
    for (name, figure) in &mut draft.run.figures {
        if rules::latency(name) == Some("itl") {
            definition.clone_into(&mut figure.definition);
        }
    }
}

pub fn throughput(value: &Value, source: &str) -> ReferenceRun {
    let mut draft = Draft::new("vLLM bench throughput", source, Percentiles::Linear);
    draft.run.backend = "vLLM".to_owned();
    draft.run.model = text(value, &["model", "model_id"]).unwrap_or_default();
    draft.ours("duration", number(value, "elapsed_time"));
    draft.ours("completed", number(value, "num_requests"));
    draft.ours("request_throughput", number(value, "requests_per_second"));
    draft.ours("total_token_throughput", number(value, "tokens_per_second"));
    draft.ours(
        "total_output_tokens",
        first(value, &["total_output_tokens", "num_output_tokens"]),
    );
    // Printed, and in no file.
    draft.ours("output_throughput", number(value, "output_throughput"));
    let all = first(value, &["total_num_tokens"]);
    draft.beside(
        "total_num_tokens",
        all,
        "prompt and output tokens of the run",
    );
    draft.check_rates(EXACT);
    let over = |count: Option<f64>| Some(count? / number(value, "elapsed_time")?);
    let stated = draft.figure("total_token_throughput");
    draft.check(
        "all tokens / duration = total_token_throughput",
        stated,
        over(all),
        EXACT,
    );
    draft.note("all requests at once, in process; its tokens a second count input and output");
    draft.finish()
}

pub fn latency(value: &Value, source: &str) -> ReferenceRun {
    const BATCH: &str = "seconds of one whole batch, from its prompts to its last tokens";
    let mut draft = Draft::new("vLLM bench latency", source, Percentiles::Linear);
    draft.run.backend = "vLLM".to_owned();
    draft.run.model = text(value, &["model", "model_id"]).unwrap_or_default();
    draft.beside("avg_latency", number(value, "avg_latency"), BATCH);
    draft.beside("std_latency", number(value, "std_latency"), BATCH);
    let percentiles = value.get("percentiles").and_then(Value::as_object);
    for (percent, figure) in percentiles.into_iter().flatten() {
        let name = format!("p{percent}_latency");
        draft.beside(&name, super::value::as_number(figure), BATCH);
    }
    draft.finish()
}
