//! `telemetry.csv`, read back into samples.

use std::path::Path;

use serde_json::{Map, Value};

use super::ArchiveError;
use super::lines::{Lines, known};
use crate::bench::RawRun;
use crate::ground::json::words::in_words;
use crate::ground::{GpuSample, ProcessSample, TelemetrySample};

/// Ten lines a second for days.
const LARGEST: u64 = 1 << 30;

/// Columns are numbers, or empty where nothing was told.
pub fn telemetry(dir: &Path, raw: &mut [RawRun]) -> Result<(), ArchiveError> {
    let Some(mut lines) = Lines::open(dir, "telemetry.csv", LARGEST)? else {
        return Ok(());
    };
    let head = lines.next()?.unwrap_or_default();
    let columns: Vec<String> = head.split(',').map(str::to_owned).collect();
    while let Some(text) = lines.next()? {
        let read = sample(&columns, text).and_then(|(run, sample)| {
            raw[known(run, raw.len())?].telemetry.push(sample);
            Ok(())
        });
        if let Err(reason) = read {
            return Err(lines.wrong(reason));
        }
    }
    Ok(())
}

/// A line's run and sample. `gpu0_power_watts` is the power of the first GPU, `process1_cpu_percent` of the second process.
fn sample(columns: &[String], text: &str) -> Result<(usize, TelemetrySample), String> {
    let cells: Vec<&str> = text.split(',').collect();
    if cells.len() != columns.len() {
        let (found, all) = (cells.len(), columns.len());
        return Err(format!("it has {found} cells under {all} names"));
    }
    let mut own = Map::new();
    let mut parts: Vec<(&str, Map<String, Value>)> = Vec::new();
    for (column, cell) in columns.iter().zip(cells) {
        let value: Value = match cell {
            "" => Value::Null,
            cell => serde_json::from_str(cell).map_err(|_| format!("{column} is {cell:?}"))?,
        };
        let of_part = column.split_once('_').filter(|(whose, _)| {
            let number = whose.strip_prefix("gpu").or(whose.strip_prefix("process"));
            number.is_some_and(|number| number.parse::<usize>().is_ok())
        });
        let (map, name) = match of_part {
            None => (&mut own, column.as_str()),
            Some((whose, name)) => {
                if parts.last().is_none_or(|(last, _)| *last != whose) {
                    parts.push((whose, Map::new()));
                }
                match parts.last_mut() {
                    Some((_, map)) => (map, name),
                    None => (&mut own, name),
                }
            }
        };
        map.insert(name.to_owned(), value);
    }
    let run = match own.remove("run") {
        None => 0,
        Some(run) => serde_json::from_value(run).map_err(|error| format!("run: {error}"))?,
    };
    let words = |error: serde_json::Error| in_words(&error.to_string());
    let mut sample: TelemetrySample = serde_json::from_value(own.into()).map_err(words)?;
    for (whose, map) in parts {
        let map = Value::from(map);
        if whose.starts_with("gpu") {
            let gpu: GpuSample = serde_json::from_value(map).map_err(words)?;
            sample.gpus.push(gpu);
        } else {
            let process: ProcessSample = serde_json::from_value(map).map_err(words)?;
            sample.others.push(process);
        }
    }
    Ok((run, sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_telemetry_is_told_apart() {
        let head = "run,time,cpu_percent,ram_percent,rss_bytes,gpu0_power_watts,gpu0_throttle_bits,gpu1_power_watts,gpu1_throttle_bits,process1_cpu_percent";
        let columns: Vec<String> = head.split(',').map(str::to_owned).collect();
        let (run, found) = sample(&columns, "1,0.5,99.5,10.0,4096,250.0,4,,,12.5").unwrap();
        assert_eq!((run, found.time, found.rss_bytes), (1, 0.5, 4096));
        assert_eq!(found.gpus.len(), 2);
        assert_eq!(found.gpus[0].power_watts, Some(250.0));
        assert_eq!(found.gpus[0].throttle_bits, Some(4));
        assert_eq!(found.gpus[1], GpuSample::default());
        assert_eq!(found.others[0].cpu_percent, Some(12.5));
        assert!(sample(&columns, "1,0.5").unwrap_err().contains("2 cells"));
        assert!(
            sample(&columns, "1,x,1,1,1,1,1,1,1,1")
                .unwrap_err()
                .contains("time")
        );
    }
}
