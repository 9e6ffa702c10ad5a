//! `vllm.json`: a run as vLLM's serving benchmark writes it, so that its tools read ours.
//!
//! By its definitions: a request that was given up failed, the clock of a request starts when it is handed over (the wait before is its
//! `queue_times`), a failed request counts no output, percentiles are given for any number of values. Where vLLM would write a 0 for
//! something never observed, this writes null.

use std::collections::BTreeMap;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::RawRun;
use crate::ground::results::{Results, Run};
use crate::ground::{FinishReason, Log, RequestRecord};
use crate::metrics::quantile::{Sample, Values};
use crate::metrics::timing::{self, BusiestSecond};
use crate::workload::Rate;

const MS: f64 = 1e3;
const PERCENTILES: [u32; 4] = [50, 90, 95, 99];
const BACKEND: &str = "candlepower";
/// Of the run, as this program computes them too.
const TOTALS: [&str; 9] = [
    "duration",
    "completed",
    "failed",
    "total_input_tokens",
    "total_output_tokens",
    "request_throughput",
    "request_goodput",
    "output_throughput",
    "total_token_throughput",
];

/// One run, to be written: the lists are read off the records as they are.
pub fn run<'a>(results: &'a Results, run: &'a Run, raw: &'a RawRun) -> impl Serialize + 'a {
    File {
        results,
        run,
        records: &raw.requests,
    }
}

struct File<'a> {
    results: &'a Results,
    run: &'a Run,
    records: &'a Log<RequestRecord>,
}

impl Serialize for File<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        self.head(&mut out)?;
        self.lists(&mut out)?;
        let sums = Sums::of(self.records);
        out.serialize_entry("max_output_tokens_per_s", &sums.tokens.most())?;
        out.serialize_entry("max_concurrent_requests", &sums.crowd.most())?;
        sums.statistics(&mut out)?;
        out.end()
    }
}

impl File<'_> {
    fn head<M: SerializeMap>(&self, out: &mut M) -> Result<(), M::Error> {
        let scenario = &self.run.scenario;
        let rate = scenario.request_rate.map_or(json!("inf"), Into::into);
        out.serialize_entry("date", &self.results.environment.time)?;
        out.serialize_entry("backend", BACKEND)?;
        out.serialize_entry("model_id", &self.results.model.name)?;
        let requests = scenario.requests.unwrap_or(self.records.len());
        out.serialize_entry("num_prompts", &requests)?;
        out.serialize_entry("request_rate", &rate)?;
        out.serialize_entry("burstiness", &scenario.burstiness)?;
        let most = scenario.concurrency.or(scenario.max_concurrency);
        out.serialize_entry("max_concurrency", &most)?;
        let course = scenario.rate_course.as_deref();
        if let Some(Ok(Rate::Ramp(rates))) = course.map(str::parse)
            && let [start, end] = rates[..]
        {
            out.serialize_entry("ramp_up_strategy", "linear")?;
            out.serialize_entry("ramp_up_start_rps", &start)?;
            out.serialize_entry("ramp_up_end_rps", &end)?;
        }
        match scenario.sampling {
            None => out.serialize_entry("temperature", &0.0)?,
            Some(drawing) => {
                out.serialize_entry("temperature", &drawing.temperature)?;
                out.serialize_entry("top_k", &drawing.top_k)?;
                out.serialize_entry("top_p", &drawing.top_p)?;
            }
        }
        let figures = &self.run.extended;
        let failed = (self.records.len() as u64).saturating_sub(figures.completed);
        let entries = figures.entries();
        TOTALS.iter().try_for_each(|name| match *name {
            "failed" => out.serialize_entry(name, &failed),
            name => out.serialize_entry(name, &entries.get(name)),
        })
    }

    fn lists<M: SerializeMap>(&self, out: &mut M) -> Result<(), M::Error> {
        let completed = |r: &RequestRecord| match timing::succeeded(r) {
            true => r.output_tokens,
            false => 0,
        };
        let since_sent = |r: &RequestRecord, stamp: Option<&f64>| Some(stamp? - sent(r));
        let log = self.records;
        list(out, "input_lens", log, |r| r.prompt_tokens)?;
        list(out, "output_lens", log, completed)?;
        list(out, "ttfts", log, |r| since_sent(r, r.tokens.first()))?;
        list(out, "itls", log, |r| timing::gaps(r).collect::<Vec<_>>())?;
        list(out, "latencies", log, |r| since_sent(r, r.tokens.last()))?;
        list(out, "start_times", log, sent)?;
        list(out, "queue_times", log, |_| 0.0)?;
        list(out, "errors", log, error)
    }
}

/// Why vLLM would count it as failed: it knows no request that is given up.
fn error(record: &RequestRecord) -> String {
    match (&record.error, record.finish) {
        (Some(error), _) => error.clone(),
        (None, Some(FinishReason::Cancelled)) => "cancelled".to_owned(),
        (None, Some(FinishReason::Cut)) => "cut".to_owned(),
        (None, _) => String::new(),
    }
}

/// When vLLM's clock starts for a request: its client sends at arrival, whatever the engine does then.
fn sent(record: &RequestRecord) -> f64 {
    record.arrival
}

fn list<M: SerializeMap, T: Serialize>(
    out: &mut M,
    name: &'static str,
    records: &Log<RequestRecord>,
    value: impl Fn(&RequestRecord) -> T,
) -> Result<(), M::Error> {
    out.serialize_entry(name, &List { records, value })
}

/// One value a request.
struct List<'a, F> {
    records: &'a Log<RequestRecord>,
    value: F,
}

impl<T: Serialize, F: Fn(&RequestRecord) -> T> Serialize for List<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_seq(Some(self.records.len()))?;
        for record in self.records {
            out.serialize_element(&(self.value)(&record))?;
        }
        out.end()
    }
}

/// Over successful requests.
#[derive(Default)]
struct Sums {
    tokens: BusiestSecond,
    crowd: Crowd,
    ttft: Values,
    tpot: Values,
    itl: Values,
    e2el: Values,
}

impl Sums {
    fn of(records: &Log<RequestRecord>) -> Self {
        let mut sums = Self::default();
        let mut start = None;
        for record in records {
            let start = *start.get_or_insert(sent(&record));
            if timing::succeeded(&record) {
                sums.tokens.begin(start);
                sums.tokens.add(&record);
                sums.crowd.add(&record, start);
                sums.ttft.extend(timing::ttft(&record));
                sums.tpot.extend(timing::tpot(&record));
                sums.itl.extend(timing::gaps(&record));
                sums.e2el.extend(timing::latency(&record));
            }
        }
        sums
    }

    fn statistics<M: SerializeMap>(self, out: &mut M) -> Result<(), M::Error> {
        for (name, values) in [
            ("ttft", self.ttft),
            ("tpot", self.tpot),
            ("itl", self.itl),
            ("e2el", self.e2el),
        ] {
            let sample = values.sample();
            let ms = |statistic: &dyn Fn(&Sample) -> f64| {
                sample.as_ref().map(|sample| statistic(sample) * MS)
            };
            let median = ms(&|sample| sample.percentile(PERCENTILES[0]));
            out.serialize_entry(&format!("mean_{name}_ms"), &ms(&Sample::mean))?;
            out.serialize_entry(&format!("median_{name}_ms"), &median)?;
            out.serialize_entry(&format!("std_{name}_ms"), &ms(&Sample::std))?;
            for percent in PERCENTILES {
                let value = ms(&|sample| sample.percentile(percent));
                out.serialize_entry(&format!("p{percent}_{name}_ms"), &value)?;
            }
        }
        Ok(())
    }
}

/// Most requests that were alive at any time of one second. A request is alive from the second it starts in to
/// that it ends in.
#[derive(Default)]
struct Crowd {
    /// From the second of the latest arrival on.
    changes: BTreeMap<u64, i64>,
    alive: i64,
    most: Option<i64>,
}

impl Crowd {
    /// Requests come in order of arrival.
    fn add(&mut self, record: &RequestRecord, start: f64) {
        let Some(&last) = record.tokens.last() else {
            return;
        };
        let second = |time: f64| (time - start) as u64;
        let first = second(sent(record));
        while let Some(entry) = self.changes.first_entry().filter(|e| *e.key() < first) {
            self.alive += entry.remove();
            self.most = self.most.max(Some(self.alive));
        }
        *self.changes.entry(first).or_default() += 1;
        *self.changes.entry(second(last) + 1).or_default() -= 1;
    }

    fn most(&self) -> Option<i64> {
        let rest = self.changes.values().scan(self.alive, |alive, change| {
            *alive += change;
            Some(*alive)
        });
        self.most.max(rest.max())
    }
}
