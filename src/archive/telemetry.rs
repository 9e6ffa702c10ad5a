//! `telemetry.csv`, read back into samples.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ArchiveError;
use crate::ground::json::{read_bounded, text_of};
use crate::ground::results::Results;
use crate::ground::{GpuSample, ProcessSample, TelemetrySample};

/// Ten lines a second for days.
const LARGEST: u64 = 1 << 30;

/// The samples of each run of `results`.
///
/// # Errors
/// The file cannot be read, or a line is none of a sample.
pub fn telemetry(dir: &Path, results: &Results) -> Result<Vec<Vec<TelemetrySample>>, ArchiveError> {
    let path = dir.join("telemetry.csv");
    let failed = |reason: String| ArchiveError::new(&path, reason);
    let bytes = read_bounded(&path, LARGEST).map_err(|error| failed(error.to_string()))?;
    let text = text_of(&bytes).map_err(|error| failed(error.to_string()))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let mut found = vec![Vec::new(); results.runs.len()];
    for (number, line) in lines.enumerate() {
        let in_line = |reason: &str| failed(format!("line {}: {reason}", number + 2));
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() != header.len() {
            return Err(in_line("it has another number of cells than the header"));
        }
        let cells: BTreeMap<&str, &str> = header.iter().copied().zip(cells).collect();
        let sample = sample(&cells).ok_or_else(|| in_line("it is no sample"))?;
        let run = cells.get("run").map_or(Some(0), |run| run.parse().ok());
        let of_run = run.and_then(|run: usize| found.get_mut(run));
        let of_run = of_run.ok_or_else(|| in_line("it is of a run that is not there"))?;
        of_run.push(sample);
    }
    Ok(found)
}

fn sample(cells: &BTreeMap<&str, &str>) -> Option<TelemetrySample> {
    let number = |name: &str| cells.get(name)?.parse::<f64>().ok();
    Some(TelemetrySample {
        time: number("time")?,
        cpu_percent: number("cpu_percent")?,
        ram_percent: number("ram_percent")?,
        rss_bytes: cells.get("rss_bytes")?.parse().ok()?,
        gpus: places::<GpuSample>(cells, "gpu", 0)?,
        others: places::<ProcessSample>(cells, "process", 1)?,
    })
}

/// The readings of each place from `first` on: columns such as `gpu0_power_watts`.
fn places<T: DeserializeOwned>(
    cells: &BTreeMap<&str, &str>,
    what: &str,
    first: usize,
) -> Option<Vec<T>> {
    let mut found = Vec::new();
    loop {
        let prefix = format!("{what}{}_", first + found.len());
        let readings = cells.iter().filter_map(|(name, cell)| {
            let name = name.strip_prefix(&prefix)?;
            let value = match *cell {
                "" => Value::Null,
                text => serde_json::from_str(text).ok()?,
            };
            Some((name.to_owned(), value))
        });
        let readings: Map<String, Value> = readings.collect();
        if readings.is_empty() {
            return Some(found);
        }
        found.push(serde_json::from_value(Value::Object(readings)).ok()?);
    }
}
