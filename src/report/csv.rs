//! `summary.csv`, one line a metric of a run, and `telemetry.csv`.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use super::RawRun;
use super::rows::unit;
use crate::ground::TelemetrySample;
use crate::ground::results::{Results, Run};

/// Every metric of every run: full precision, an empty value with its reason where null.
pub fn summary(results: &Results) -> String {
    let mut out = String::from("run,scenario,concurrency,repeat,set,metric,unit,value,reason\n");
    for (index, run) in results.runs.iter().enumerate() {
        set(&mut out, index, run, "metrics", &run.metrics.entries());
        set(&mut out, index, run, "extended", &run.extended.entries());
    }
    out
}

fn set(out: &mut String, index: usize, run: &Run, set: &str, entries: &Map<String, Value>) {
    let scenario = &run.scenario;
    let concurrency = scenario
        .concurrency
        .map_or(String::new(), |c| c.to_string());
    let scalar = |value: &&Value| !value.is_array() && !value.is_object();
    for (name, value) in entries.iter().filter(|(_, value)| scalar(value)) {
        let shown = match value {
            Value::Null => String::new(),
            Value::String(text) => quoted(text),
            other => other.to_string(),
        };
        let reason = run
            .not_observed
            .get(name)
            .map_or(String::new(), |r| quoted(r));
        let _ = writeln!(
            out,
            "{index},{},{concurrency},{},{set},{name},{},{shown},{reason}",
            quoted(&scenario.name),
            scenario.repeat,
            unit(name),
        );
    }
}

/// One line a sample; the first column numbers the run.
///
/// # Errors
/// What the writer says.
pub fn telemetry(runs: &[RawRun], out: &mut impl Write) -> io::Result<()> {
    let gpus = columns(runs, "gpu", 0, |sample| &sample.gpus);
    let processes = columns(runs, "process", 1, |sample| &sample.others);
    writeln!(
        out,
        "run,time,cpu_percent,ram_percent,rss_bytes{gpus}{processes}"
    )?;
    for (index, run) in runs.iter().enumerate() {
        for sample in &run.telemetry {
            let (time, cpu, ram) = (sample.time, sample.cpu_percent, sample.ram_percent);
            write!(out, "{index},{time},{cpu},{ram},{}", sample.rss_bytes)?;
            let gpus = sample.gpus.iter().flat_map(readings);
            for (_, value) in gpus.chain(sample.others.iter().flat_map(readings)) {
                match value {
                    Value::Null => write!(out, ",")?,
                    value => write!(out, ",{value}")?,
                }
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// Every reading of every GPU or process, under its place in the samples, from `first` on.
fn columns<T: Serialize + Default>(
    runs: &[RawRun],
    what: &str,
    first: usize,
    of: fn(&TelemetrySample) -> &Vec<T>,
) -> String {
    let samples = runs.iter().flat_map(|run| &run.telemetry);
    let count = samples.map(|sample| of(sample).len()).max().unwrap_or(0);
    let names = (first..first + count).flat_map(|place| {
        let names = readings(&T::default()).into_iter();
        names.map(move |(name, _)| format!(",{what}{place}_{name}"))
    });
    names.collect()
}

fn readings(sample: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(sample) {
        Ok(Value::Object(map)) => map,
        // A struct of numbers always becomes an object.
        _ => Map::new(),
    }
}

/// Quoted where the text holds a separator (RFC 4180).
pub(super) fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
