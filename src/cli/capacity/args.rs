//! Flags of `capacity`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::super::bench::ServerFlag;
use super::super::common::CommonArgs;
use super::super::values;
use crate::capacity::{CapacityOptions, Objective, Search};
use crate::session::EngineOptions;
use crate::workload::Lengths;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower capacity --slo ttft:2000,tpot:200\n  \
    candlepower capacity --model ./my-model --slo ttft:500,tpot:50 --percentile p99 --input-len 1000 --output-len 200\n  \
    candlepower capacity --device sim:h100-sxm --model DeepSeek-R1-Distill-Llama-8B --slo tpot:50 --search rate\n  \
    candlepower capacity --slo ttft:500,tpot:50,goodput:95 --max 64 --json\n\n\
    Exit code 3: not even the lowest load meets the objective")]
pub struct CapacityArgs {
    #[command(flatten)]
    pub common: CommonArgs,

    /// With --device sim: whose kernels and host time a step takes; none is raw capacity
    #[arg(long, value_enum, default_value_t = ServerFlag::None, value_name = "S", help_heading = "Device")]
    pub server: ServerFlag,

    /// Limits: ttft:MS,tpot:MS,e2el:MS; goodput:PERCENT of all requests keep them (in place of the percentile), errors:PERCENT may fail, kv:PERCENT of the cache is used
    #[arg(long, value_name = "SLO", value_parser = objective, required_unless_present = "print_config", help_heading = "Objective")]
    pub slo: Option<Objective>,
    /// Of the latencies: p50, p90, p95 or p99
    #[arg(long, value_name = "P", default_value = "p95", value_parser = percentile, help_heading = "Objective")]
    pub percentile: u32,

    /// What is raised: requests in flight, or requests a second
    #[arg(long, value_enum, default_value_t = SearchFlag::Concurrency, help_heading = "Search")]
    pub search: SearchFlag,
    /// The lowest load of interest [default: 1 in flight; a 64th of the rate of requests one by one]
    #[arg(long, value_name = "A", value_parser = values::positive_number, help_heading = "Search")]
    pub min: Option<f64>,
    /// The highest load of interest [default: 1024 in flight; 4096 times the rate of requests one by one]
    #[arg(long, value_name = "B", value_parser = values::positive_number, help_heading = "Search")]
    pub max: Option<f64>,
    /// Plays of the two loads beside the edge, of which most decide; 1 where nothing is left to chance
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = values::positive, help_heading = "Search")]
    pub repeats: usize,
    /// Do not look for the limit that binds
    #[arg(long, help_heading = "Search")]
    pub no_raise: bool,

    /// Prompt tokens, or what they are drawn from, as bench takes it [default: 100]
    #[arg(
        long,
        alias = "random-input-len",
        value_name = "N|LENGTHS",
        conflicts_with = "dataset",
        help_heading = "Work"
    )]
    pub input_len: Option<Lengths>,
    /// Output tokens, exact, or what they are drawn from [default: 32]
    #[arg(
        long,
        alias = "random-output-len",
        value_name = "N|LENGTHS",
        help_heading = "Work"
    )]
    pub output_len: Option<Lengths>,
    /// A file of requests, as bench takes it
    #[arg(
        long,
        alias = "dataset-path",
        value_name = "FILE",
        help_heading = "Work"
    )]
    pub dataset: Option<PathBuf>,
    /// Requests of each load [default: 4 for each in flight, or 10 times what one takes alone; enough for the percentile]
    #[arg(long, aliases = ["num-prompts", "num-requests"], value_name = "N", value_parser = values::positive, help_heading = "Work")]
    pub requests: Option<usize>,
    /// With --search rate: shape of the gaps between arrivals; 1 is Poisson, below 1 bursts
    #[arg(long, value_name = "B", default_value_t = 1.0, value_parser = values::positive_number, help_heading = "Work")]
    pub burstiness: f64,
    /// Short requests before each load; they are not counted
    #[arg(long, alias = "num-warmups", value_name = "N", default_value_t = 1, value_parser = values::whole, help_heading = "Work")]
    pub warmup: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SearchFlag {
    Concurrency,
    Rate,
}

impl CapacityArgs {
    pub fn options(&self) -> EngineOptions {
        let mut options = self.common.options();
        options.server = self.server.server();
        options
    }

    pub fn capacity(&self) -> CapacityOptions {
        CapacityOptions {
            objective: Objective {
                percentile: self.percentile,
                ..self.slo.clone().unwrap_or_default()
            },
            search: match self.search {
                SearchFlag::Concurrency => Search::Concurrency,
                SearchFlag::Rate => Search::Rate,
            },
            min: self.min,
            max: self.max,
            requests: self.requests,
            repeats: self.repeats,
            raise: !self.no_raise,
            burstiness: self.burstiness,
            input_len: self.input_len,
            output_len: self.output_len,
            dataset: self.dataset.clone(),
            warmup: self.warmup,
        }
    }
}

/// `p95` and the like.
pub fn percentile(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix(['p', 'P']).unwrap_or(text);
    let known = digits.parse().ok();
    known
        .filter(|percent| crate::capacity::PERCENTILES.contains(percent))
        .ok_or_else(|| "it must be p50, p90, p95 or p99".to_owned())
}

/// Limits by name: `ttft:500,tpot:50`.
pub fn objective(text: &str) -> Result<Objective, String> {
    const NAMES: &str = "ttft, tpot, e2el, goodput, errors and kv";
    let mut objective = Objective::default();
    for part in text.split(',') {
        let (name, value) = part
            .split_once(':')
            .ok_or_else(|| format!("{part:?} is not NAME:LIMIT; write ttft:500,tpot:50"))?;
        let said = |rule: String| format!("{part:?}: {rule}");
        let limit = || values::positive_number(value).map_err(said);
        let percent = || match value.parse() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
            _ => Err(said("it must be a number from 0 to 100".to_owned())),
        };
        match name.trim() {
            "ttft" => objective.slo.ttft_ms = Some(limit()?),
            "tpot" => objective.slo.tpot_ms = Some(limit()?),
            "e2el" => objective.slo.e2el_ms = Some(limit()?),
            "goodput" => objective.goodput_percent = Some(percent()?),
            "errors" => objective.error_percent = percent()?,
            "kv" => objective.kv_percent = Some(percent()?),
            other => return Err(format!("{other:?} is not one of {NAMES}")),
        }
    }
    match objective.is_empty() {
        true => Err("give one of ttft, tpot, e2el and kv a limit".to_owned()),
        false => Ok(objective),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_by_name() {
        let found = objective("ttft:500,tpot:50,goodput:95,errors:1,kv:90").unwrap();
        assert_eq!(found.slo.ttft_ms, Some(500.0));
        assert_eq!(found.goodput_percent, Some(95.0));
        assert_eq!((found.error_percent, found.kv_percent), (1.0, Some(90.0)));
        for bad in ["", "ttft", "ttft:0", "itl:3", "goodput:95", "kv:101"] {
            assert!(objective(bad).is_err(), "{bad}");
        }
        assert_eq!(percentile("p99"), Ok(99));
        assert!(percentile("p42").is_err());
    }
}
