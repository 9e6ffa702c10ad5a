//! `vllm.json`: a run as vLLM's serving benchmark writes it, so that its tools read ours.
//!
//! By its definitions: the clock of a request starts when it is handed over (the wait before is its
//! `queue_times`), a failed request counts no output, percentiles are given for any number of values. Where vLLM would write a 0 for
//! something never observed, this writes null.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::RawRun;
use crate::ground::RequestRecord;
use crate::ground::results::{Results, Run};
use crate::metrics::quantile::Sample;
use crate::metrics::timing::{self, Window};

const MS: f64 = 1e3;
const PERCENTILES: [u32; 4] = [50, 90, 95, 99];
const BACKEND: &str = "candlepower";

/// One run.
pub fn run(results: &Results, run: &Run, raw: &RawRun) -> Value {
    let mut out = Map::new();
    head(&mut out, results, run);
    totals(&mut out, run);
    requests(&mut out, &raw.requests);
    seconds(&mut out, &raw.requests);
    statistics(&mut out, &raw.requests);
    Value::Object(out)
}

fn head(out: &mut Map<String, Value>, results: &Results, run: &Run) {
    let scenario = &run.scenario;
    let rate = scenario.request_rate.map_or(json!("inf"), Value::from);
    out.insert("date".into(), json!(results.environment.time));
    out.insert("backend".into(), json!(BACKEND));
    out.insert("model_id".into(), json!(results.model.name));
    out.insert("num_prompts".into(), json!(scenario.requests));
    out.insert("request_rate".into(), rate);
    out.insert("burstiness".into(), json!(scenario.burstiness));
    out.insert("max_concurrency".into(), json!(scenario.concurrency));
}

fn totals(out: &mut Map<String, Value>, run: &Run) {
    let entries = run.extended.entries();
    for name in [
        "duration",
        "completed",
        "failed",
        "total_input_tokens",
        "total_output_tokens",
        "request_throughput",
        "request_goodput",
        "output_throughput",
        "total_token_throughput",
    ] {
        let value = entries.get(name).cloned().unwrap_or_default();
        out.insert(name.to_owned(), value);
    }
}

/// When vLLM's clock starts for a request: its client sends at arrival, whatever the engine does then.
fn sent(record: &RequestRecord) -> f64 {
    record.arrival
}

fn since_sent(record: &RequestRecord, stamp: Option<&f64>) -> Option<f64> {
    Some(stamp? - sent(record))
}

fn requests(out: &mut Map<String, Value>, records: &[RequestRecord]) {
    let list =
        |value: &dyn Fn(&RequestRecord) -> Value| -> Value { records.iter().map(value).collect() };
    let completed = |r: &RequestRecord| {
        if timing::succeeded(r) {
            r.output_tokens
        } else {
            0
        }
    };
    out.insert("input_lens".into(), list(&|r| json!(r.prompt_tokens)));
    out.insert("output_lens".into(), list(&|r| json!(completed(r))));
    out.insert(
        "ttfts".into(),
        list(&|r| json!(since_sent(r, r.tokens.first()))),
    );
    out.insert("itls".into(), list(&|r| timing::gaps(r).collect()));
    out.insert(
        "latencies".into(),
        list(&|r| json!(since_sent(r, r.tokens.last()))),
    );
    out.insert("start_times".into(), list(&|r| json!(sent(r))));
    out.insert("queue_times".into(), list(&|_| json!(0.0)));
    out.insert(
        "errors".into(),
        list(&|r| json!(r.error.as_deref().unwrap_or(""))),
    );
}

/// Figures by buckets of one second from the first start.
fn seconds(out: &mut Map<String, Value>, records: &[RequestRecord]) {
    let done: Vec<&RequestRecord> = records.iter().filter(|r| timing::succeeded(r)).collect();
    let start = records.iter().map(sent).reduce(f64::min);
    let end = done
        .iter()
        .filter_map(|r| r.tokens.last().copied())
        .reduce(f64::max);
    let window = start.zip(end).map(|(start, end)| Window { start, end });
    let tokens = window.and_then(|w| crate::metrics::extended::busiest_second(&done, w));
    let requests = window.and_then(|w| busiest_crowd(&done, w));
    out.insert("max_output_tokens_per_s".into(), json!(tokens));
    out.insert("max_concurrent_requests".into(), json!(requests));
}

/// Most requests that were alive at any time of one second.
fn busiest_crowd(done: &[&RequestRecord], window: Window) -> Option<i64> {
    let second = |time: f64| (time - window.start) as u64;
    // A request is alive from the second it starts in to that it ends in.
    let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
    for record in done {
        let last = *record.tokens.last()?;
        *changes.entry(second(sent(record))).or_default() += 1;
        *changes.entry(second(last) + 1).or_default() -= 1;
    }
    let alive = changes.values().scan(0, |alive, change| {
        *alive += change;
        Some(*alive)
    });
    alive.max()
}

fn statistics(out: &mut Map<String, Value>, records: &[RequestRecord]) {
    let done = || records.iter().filter(|r| timing::succeeded(r));
    let samples: [(&str, Vec<f64>); 4] = [
        (
            "ttft",
            done()
                .filter_map(|r| since_sent(r, r.tokens.first()))
                .collect(),
        ),
        ("tpot", done().filter_map(timing::tpot).collect()),
        ("itl", done().flat_map(timing::gaps).collect()),
        (
            "e2el",
            done()
                .filter_map(|r| since_sent(r, r.tokens.last()))
                .collect(),
        ),
    ];
    for (name, values) in samples {
        let sample = Sample::new(values);
        let ms = |statistic: &dyn Fn(&Sample) -> f64| {
            json!(sample.as_ref().map(|sample| statistic(sample) * MS))
        };
        out.insert(format!("mean_{name}_ms"), ms(&Sample::mean));
        out.insert(
            format!("median_{name}_ms"),
            ms(&|s| s.percentile(PERCENTILES[0])),
        );
        out.insert(format!("std_{name}_ms"), ms(&Sample::std));
        for percent in PERCENTILES {
            let value = ms(&|sample| sample.percentile(percent));
            out.insert(format!("p{percent}_{name}_ms"), value);
        }
    }
}
