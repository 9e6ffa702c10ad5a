//! A run in ten pieces of time: requests of one run are not independent of each other, stretches of it nearly are.

use std::path::Path;

use crate::archive::{self, ArchiveError};
use crate::ground::{Log, RequestRecord};
use crate::metrics::timing;

/// Pieces of a run.
pub const BLOCKS: usize = 10;
/// Fewer successful requests are no sample.
const FEWEST: usize = 2 * BLOCKS;
const MS: f64 = 1e3;

/// A sum and how many values it has, of each block.
pub type Sums = [(f64, f64); BLOCKS];

/// Of one run.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// Output tokens and seconds of equal stretches of the run.
    output: Sums,
    requests: Sums,
    input: Sums,
    /// Of requests in order of arrival, as many a block.
    values: Vec<Latencies>,
}

/// Milliseconds of a block's requests.
#[derive(Debug, Clone, Default)]
struct Latencies {
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    e2el: Vec<f64>,
    queue: Vec<f64>,
    gaps: (f64, f64),
}

/// The blocks of each run of the result in `dir`; of one with too few requests none.
///
/// # Errors
/// Its `requests.jsonl` cannot be read.
pub fn read(dir: &Path, runs: usize) -> Result<Vec<Option<Blocks>>, ArchiveError> {
    let logs = archive::requests(dir, runs)?;
    Ok(logs.iter().map(Blocks::of).collect())
}

impl Blocks {
    pub fn of(log: &Log<RequestRecord>) -> Option<Self> {
        let mut window: Option<(f64, f64)> = None;
        let mut count = 0;
        for record in log {
            let Some(last) = record.tokens.last().filter(|_| timing::succeeded(&record)) else {
                continue;
            };
            let (start, end) = window.unwrap_or((record.arrival, *last));
            window = Some((start.min(record.arrival), end.max(*last)));
            count += 1;
        }
        let (start, end) = window.filter(|(start, end)| end > start)?;
        if count < FEWEST {
            return None;
        }
        let length = (end - start) / BLOCKS as f64;
        let mut blocks = Self {
            values: vec![Latencies::default(); BLOCKS],
            ..Self::default()
        };
        for sums in [&mut blocks.output, &mut blocks.requests, &mut blocks.input] {
            sums.iter_mut().for_each(|(_, seconds)| *seconds = length);
        }
        let stretch = |time: f64| (((time - start) / length) as usize).min(BLOCKS - 1);
        let successful = log.into_iter().filter(|record| timing::succeeded(record));
        for (index, record) in successful.enumerate() {
            for &time in &record.tokens {
                blocks.output[stretch(time)].0 += 1.0;
            }
            if let Some(last) = record.tokens.last() {
                blocks.requests[stretch(*last)].0 += 1.0;
                blocks.input[stretch(*last)].0 += record.prompt_tokens as f64;
            }
            blocks.values[(index * BLOCKS / count).min(BLOCKS - 1)].add(&record);
        }
        Some(blocks)
    }

    /// What one statistic is made of; `None` where blocks do not make it.
    pub fn series(&self, name: &str) -> Option<Series<'_>> {
        let rate = match name {
            "output_throughput" => Some(&self.output),
            "request_throughput" => Some(&self.requests),
            "input_throughput" => Some(&self.input),
            _ => None,
        };
        if let Some(sums) = rate {
            return Some(Series::Mean(sums.to_vec()));
        }
        if name == "mean_itl_ms" {
            return Some(Series::Mean(self.values.iter().map(|v| v.gaps).collect()));
        }
        let (statistic, latency) = name.strip_suffix("_ms")?.split_once('_')?;
        let of: fn(&Latencies) -> &Vec<f64> = match latency {
            "ttft" => |v| &v.ttft,
            "tpot" => |v| &v.tpot,
            "e2el" => |v| &v.e2el,
            "queue" => |v| &v.queue,
            _ => return None,
        };
        let values: Vec<&[f64]> = self.values.iter().map(|v| of(v).as_slice()).collect();
        match statistic {
            "mean" => {
                let sums = values.iter().map(|v| (v.iter().sum(), v.len() as f64));
                Some(Series::Mean(sums.collect()))
            }
            "median" => Some(Series::Quantile(0.5, values)),
            "p99" => Some(Series::Quantile(0.99, values)),
            _ => None,
        }
    }
}

impl Latencies {
    fn add(&mut self, record: &RequestRecord) {
        let ms = |seconds: Option<f64>| seconds.map(|seconds| seconds * MS);
        self.ttft.extend(ms(timing::ttft(record)));
        self.tpot.extend(ms(timing::tpot(record)));
        self.e2el.extend(ms(timing::latency(record)));
        self.queue.extend(ms(timing::queue(record)));
        for gap in timing::gaps(record) {
            self.gaps.0 += gap * MS;
            self.gaps.1 += 1.0;
        }
    }
}

/// A statistic by block.
#[derive(Debug)]
pub enum Series<'a> {
    Mean(Vec<(f64, f64)>),
    Quantile(f64, Vec<&'a [f64]>),
}

impl Series<'_> {
    /// The statistic over the blocks that were picked; `None` where they hold nothing.
    pub fn over(&self, picks: &[usize]) -> Option<f64> {
        let value = match self {
            Self::Mean(sums) => {
                let picked = picks.iter().map(|&at| sums[at]);
                let (sum, count) =
                    picked.fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
                sum / count
            }
            Self::Quantile(part, values) => {
                let mut all: Vec<f64> = picks.iter().flat_map(|&at| values[at]).copied().collect();
                let at = (all.len().checked_sub(1)? as f64 * part).round() as usize;
                *all.select_nth_unstable_by(at, f64::total_cmp).1
            }
        };
        (value.is_finite() && value > 0.0).then_some(value)
    }
}
