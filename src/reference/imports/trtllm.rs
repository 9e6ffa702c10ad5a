//! Results of `trtllm-bench throughput` and `latency`: the JSON report, and what is printed.

use serde_json::Value;

use super::draft::{Draft, EXACT, Percentiles};
use super::value::{at, count, has, number, parsed, text};
use crate::ground::results::ReferenceRun;
use crate::reference::rules::PER_TOKEN_ZEROS;

const TITLE: &str = "PERFORMANCE OVERVIEW";
/// By the report's names and ours.
const STATISTICS: [(&str, &str); 6] = [
    ("average", "mean"),
    ("p50", "p50"),
    ("p50", "median"),
    ("p90", "p90"),
    ("p95", "p95"),
    ("p99", "p99"),
];
const PER_USER: &str = "mean over requests of output tokens / latency";
const SPEED: &str = "mean over requests of (tokens - 1) / (latency less first token's)";
/// Lines of the printed report, their units, and our names.
const LINES: [(&str, f64, &str); 13] = [
    ("Number of requests", 1.0, "completed"),
    ("Total Latency (ms)", 1e-3, "duration"),
    ("Request Throughput (req/sec)", 1.0, "request_throughput"),
    (
        "Total Output Throughput (tokens/sec)",
        1.0,
        "output_throughput",
    ),
    (
        "Total Token Throughput (tokens/sec)",
        1.0,
        "total_token_throughput",
    ),
    ("Average request latency (ms)", 1.0, "mean_e2el_ms"),
    (
        "Average time-to-first-token [TTFT] (ms)",
        1.0,
        "mean_ttft_ms",
    ),
    (
        "Average time-per-output-token [TPOT] (ms)",
        1.0,
        "mean_tpot_ms",
    ),
    // Once it had no other.
    ("Token Throughput (tokens/sec)", 1.0, "output_throughput"),
    ("[Latency] P50", 1.0, "p50_e2el_ms"),
    ("[Latency] P90", 1.0, "p90_e2el_ms"),
    ("[Latency] P95", 1.0, "p95_e2el_ms"),
    ("[Latency] P99", 1.0, "p99_e2el_ms"),
];

pub fn is(value: &Value) -> bool {
    has(value, &["performance", "request_info"])
        && at(value, "performance.total_latency_ms").is_some()
}

pub fn is_text(text: &str) -> bool {
    text.contains("[TRT-LLM]") || text.contains(TITLE)
}

pub fn read(value: &Value, source: &str) -> ReferenceRun {
    let mut draft = Draft::new("trtllm-bench", source, Percentiles::Step);
    draft.run.backend = "TensorRT-LLM".to_owned();
    draft.run.model = text(value, &["engine.model"]).unwrap_or_default();
    let gpus = number(value, "world_info.world_size").and_then(count);
    draft.run.hardware.gpus = gpus.unwrap_or(0) as usize;
    draft.run.hardware.gpu = text(value, &["machine.name"]);
    if let Some(name) = &draft.run.hardware.gpu {
        draft.run.hardware.name.clone_from(name);
    }
    let length = |path| number(value, path);
    let rounded = |tokens: f64| count(tokens.round()).map(|tokens| tokens as usize);
    draft.run.input_len = length("request_info.avg_input_length").and_then(rounded);
    draft.run.tokens_per_request = length("request_info.avg_output_length");
    let of = |name: &str| number(value, &format!("performance.{name}"));
    let completed = number(value, "request_info.num_requests");
    draft.ours("completed", completed);
    draft.ours("duration", of("total_latency_ms").map(|ms| ms / 1e3));
    draft.ours("request_throughput", of("request_throughput_req_s"));
    draft.ours("output_throughput", of("system_output_throughput_tok_s"));
    draft.ours(
        "total_token_throughput",
        of("system_total_throughput_tok_s"),
    );
    draft.ours("mean_e2el_ms", of("avg_request_latency_ms"));
    statistics(
        &mut draft,
        value,
        "performance.request_latency_percentiles_ms",
        "e2el",
    );
    statistics(
        &mut draft,
        value,
        "streaming_metrics.ttft_percentiles",
        "ttft",
    );
    statistics(
        &mut draft,
        value,
        "streaming_metrics.tpot_percentiles",
        "tpot",
    );
    let streamed = |name: &str| number(value, &format!("streaming_metrics.{name}"));
    draft.ours("mean_ttft_ms", streamed("avg_ttft_ms"));
    draft.map("mean_tpot_ms", streamed("avg_tpot_ms"), PER_TOKEN_ZEROS);
    draft.beside(
        "token_output_speed_tok_s",
        streamed("token_output_speed_tok_s"),
        SPEED,
    );
    draft.beside(
        "output_throughput_per_user_tok_s",
        of("output_throughput_per_user_tok_s"),
        PER_USER,
    );
    let in_flight = number(value, "request_info.avg_num_concurrent_requests");
    draft.ours("mean_in_flight", in_flight);
    draft.note("how many requests were asked for at once is not in such a file");
    laws(&mut draft);
    let speed = streamed("token_output_speed_tok_s").zip(streamed("avg_tpot_ms"));
    if let Some((speed, tpot)) = speed.filter(|(speed, tpot)| speed * tpot > 2e3) {
        draft.note(format!(
            "does not add up: token_output_speed_tok_s is {speed}, and a token took {tpot} ms: single requests wreck that mean"
        ));
    }
    draft.finish()
}

fn statistics(draft: &mut Draft, value: &Value, path: &str, latency: &str) {
    for (theirs, ours) in STATISTICS.into_iter().chain([("maximum", "max")]) {
        let ours = format!("{ours}_{latency}_ms");
        let value = number(value, &format!("{path}.{theirs}"));
        match latency {
            "tpot" => draft.map(&ours, value, PER_TOKEN_ZEROS),
            _ => draft.ours(&ours, value),
        }
    }
}

/// Rates follow from counts and mean lengths.
fn laws(draft: &mut Draft) {
    draft.check_rates(1e2 * EXACT);
    let (input, output) = (draft.run.input_len, draft.run.tokens_per_request);
    let rate = draft.figure("request_throughput");
    let law = "mean output tokens x requests a second = output_throughput";
    let stated = draft.figure("output_throughput");
    // Printed lengths and rates have four digits.
    let part = 1e2 * EXACT;
    draft.check(law, stated, rate.zip(output).map(|(a, b)| a * b), part);
    let sum = rate.zip(output).zip(input);
    let sum = sum.map(|((rate, output), input)| rate * (output + input as f64));
    let law = "mean tokens x requests a second = total_token_throughput";
    let stated = draft.figure("total_token_throughput");
    draft.check(law, stated, sum, part);
    let summed = || {
        let latencies = draft.figure("mean_e2el_ms")? / 1e3 * draft.figure("completed")?;
        Some(latencies / draft.figure("duration")?)
    };
    let (stated, computed) = (draft.figure("mean_in_flight"), summed());
    let law = "latencies / duration = avg_num_concurrent_requests";
    draft.check(law, stated, computed, EXACT);
}

/// What is printed.
///
/// # Errors
/// It holds no report, and why where that is said.
pub fn read_text(text: &str, source: &str) -> Result<ReferenceRun, String> {
    let Some((before, report)) = text.split_once(TITLE) else {
        let died = text
            .lines()
            .rev()
            .find(|line| line.contains("RuntimeError"));
        let died = died.or_else(|| text.lines().find(|line| line.contains("[E]")));
        let died = died.and_then(|line| Some(line.rsplit_once(']')?.1.trim()));
        let died = died.map_or(String::new(), |why| format!(" ({why})"));
        return Err(format!(
            "a log of trtllm-bench without a report: the run ended before it had one{died}"
        ));
    };
    let lines = |text: &'static str, part: &str| line(part, text);
    let mut draft = Draft::new("trtllm-bench", source, Percentiles::Step);
    draft.run.backend = "TensorRT-LLM".to_owned();
    draft.run.model = lines("Model", before).unwrap_or_default();
    let gpus = lines("TP Size", before).zip(lines("PP Size", before));
    let gpus = gpus.and_then(|(tp, pp)| count(parsed(&tp)? * parsed(&pp)?));
    draft.run.hardware.gpus = gpus.unwrap_or(0) as usize;
    let value = |name: &str| parsed(&line(report, name)?);
    let length = [
        "Average Input Length (tokens)",
        "Average Output Length (tokens)",
    ]
    .map(value);
    draft.run.input_len = length[0]
        .and_then(|tokens| count(tokens.round()))
        .map(|tokens| tokens as usize);
    draft.run.tokens_per_request = length[1];
    for (name, unit, ours) in LINES {
        let value = value(name).map(|value| value * unit);
        match ours {
            "mean_tpot_ms" => draft.map(ours, value, PER_TOKEN_ZEROS),
            _ if draft.figure(ours).is_some() => {}
            _ => draft.ours(ours, value),
        }
    }
    laws(&mut draft);
    Ok(draft.finish())
}

/// What follows `name:` on a line of its own.
fn line(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| {
        let line = line.rsplit("[I] ").next().unwrap_or(line).trim();
        line.strip_prefix(name)?.trim_start().strip_prefix(':')
    });
    value.map(|value| value.trim().to_owned())
}
