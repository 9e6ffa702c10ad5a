//! Results of other tools, told apart by their shape and read metric by metric: what means the same as ours under our
//! names, each with its definition; all else beside it.

mod console;
mod csv;
pub(in crate::reference) mod draft;
mod guidellm;
mod guidellm_table;
mod inference_perf;
mod llama_bench;
mod nvidia;
mod nvidia_aggregate;
mod nvidia_text;
mod report_tool;
mod sglang;
mod sglang_batch;
mod trtllm;
mod value;
mod vllm;
mod vllm_reference;
mod yaml;

use serde_json::Value;

use crate::ground::json::{self, JsonError, Limits};
use crate::ground::results::ReferenceRun;
use crate::ground::terminal::listed;
use value::MOST;

/// Of a file with the times of every token of some thousand requests. Lists are read and not kept.
pub const LIMITS: Limits = Limits {
    bytes: 256 << 20,
    memory: 64 << 20,
};
/// Of a text that is no JSON, whose tables are kept.
const TEXT: u64 = 1 << 20;
/// Keys that the error of an unknown shape names.
const NAMED: usize = 8;

/// The tools that are known, for messages.
pub const KNOWN: &str = "vllm bench, SGLang's bench_serving, AIPerf, GenAI-Perf, GuideLLM, llama-bench, trtllm-bench, \
inference-perf, the source report's tool, or this program";

/// The runs in a file of any known tool.
///
/// # Errors
/// A clause that follows the file's name: it is none of theirs, or cannot be read.
pub fn parse(bytes: &[u8], source: &str) -> Result<Vec<ReferenceRun>, String> {
    let text = json::text_of(bytes).map_err(|error| error.to_string())?;
    let is_short = bytes.len() as u64 <= TEXT;
    // Lines of a log begin as a list does.
    let is_log = is_short && (trtllm::is_text(text) || console::is(text));
    let runs = match text.trim_start().starts_with(['{', '[']) && !is_log {
        true => of_values(&values(bytes)?, source)?,
        false if is_page(text) => {
            return Err(
                "a page: give the JSON or the table that the tool wrote beside it".to_owned(),
            );
        }
        false if !is_short => {
            return Err(format!(
                "{} bytes of text, where a table has {TEXT} at most",
                bytes.len()
            ));
        }
        false => of_text(text, source)?,
    };
    match runs.len() {
        0 => Err(format!("it holds no result of {KNOWN}")),
        1..=MOST => Ok(runs),
        _ => Err(format!(
            "more than {MOST} results, the most that a file may have"
        )),
    }
}

fn is_page(text: &str) -> bool {
    let words = text.trim_start().get(..9).unwrap_or_default();
    let words = words.to_lowercase();
    words == "<!doctype" || words.starts_with("<html")
}

/// The objects of a file: one, several behind each other, or those of a list.
fn values(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let values = json::parse_all(bytes, LIMITS).map_err(|error: JsonError| error.to_string())?;
    let flat = values.into_iter().flat_map(|value| match value {
        Value::Array(list) => list,
        other => vec![other],
    });
    Ok(flat.collect())
}

fn of_values(values: &[Value], source: &str) -> Result<Vec<ReferenceRun>, String> {
    if !values.is_empty() && values.iter().all(nvidia::is_request) {
        return Ok(vec![nvidia::requests(values.len(), source)]);
    }
    let mut runs = Vec::new();
    for value in values.iter().take(MOST + 1) {
        runs.append(&mut of_value(value, source)?);
    }
    Ok(runs)
}

/// The narrowest shapes first.
fn of_value(value: &Value, source: &str) -> Result<Vec<ReferenceRun>, String> {
    if guidellm::is(value) {
        return Ok(guidellm::read(value, source));
    }
    if nvidia_aggregate::is(value) {
        return Ok(nvidia_aggregate::read(value, source));
    }
    type Shape = (fn(&Value) -> bool, fn(&Value, &str) -> ReferenceRun);
    const SHAPES: [Shape; 10] = [
        (llama_bench::is, llama_bench::read),
        (trtllm::is, trtllm::read),
        (inference_perf::is, inference_perf::read),
        (nvidia::is, nvidia::read),
        (vllm::is_throughput, vllm::throughput),
        (vllm::is_latency, vllm::latency),
        (sglang_batch::is, sglang_batch::read),
        (sglang::is, sglang::read),
        (vllm::is_serve, vllm::serve),
        (report_tool::is, report_tool::read),
    ];
    let shape = SHAPES.iter().find(|(is, _)| is(value));
    let (_, read) = shape.ok_or_else(|| unknown(value))?;
    Ok(vec![read(value, source)])
}

fn unknown(value: &Value) -> String {
    let Some(map) = value.as_object().filter(|map| !map.is_empty()) else {
        return format!("it holds no result of {KNOWN}");
    };
    let keys: Vec<&String> = map.keys().take(NAMED).collect();
    format!(
        "its keys ({}) are those of no result of {KNOWN}",
        listed(&keys, ", ")
    )
}

fn of_text(text: &str, source: &str) -> Result<Vec<ReferenceRun>, String> {
    if llama_bench::is_sql(text) {
        return Ok(llama_bench::read_sql(text, source));
    }
    if let Some(json) = llama_bench::unmixed(text) {
        return of_values(&values(json.as_bytes())?, source);
    }
    if llama_bench::is_csv(text) {
        return llama_bench::read_csv(text, source);
    }
    if nvidia_text::is_csv(text) {
        return Ok(nvidia_text::read_csv(text, source));
    }
    if nvidia_text::is_console(text) {
        return Ok(nvidia_text::read_console(text, source));
    }
    if trtllm::is_text(text) {
        return Ok(vec![trtllm::read_text(text, source)?]);
    }
    if console::is(text) {
        return Ok(console::read(text, source));
    }
    if llama_bench::is_markdown(text) {
        return llama_bench::read_markdown(text, source);
    }
    if let Some(report) = guidellm_table::of(text) {
        return Ok(guidellm::read(&report, source));
    }
    let rows = report_tool::of_table(text);
    if !rows.is_empty() {
        let rows = rows.iter().take(MOST + 1);
        return Ok(rows.map(|row| report_tool::read(row, source)).collect());
    }
    let report = yaml::parse(text).unwrap_or_default();
    if guidellm::is(&report) {
        return Ok(guidellm::read(&report, source));
    }
    match inference_perf::is(&report) {
        true => Ok(vec![inference_perf::read(&report, source)]),
        false => Err(format!("it holds no result of {KNOWN}")),
    }
}
