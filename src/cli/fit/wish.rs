//! Flags of `fit --recommend`.

use clap::{Args, ValueEnum};

use crate::capacity::Objective;
use crate::cli::capacity::{objective, percentile};
use crate::cli::values;
use crate::recommend::TOP;

/// Flags of which nobody knows what they do to the time, or that name another model than the checkpoint.
const NOT_TIMED: [&str; 7] = [
    "gpu_memory",
    "pp",
    "quantization",
    "enable_lora",
    "speculative_model",
    "num_speculative_tokens",
    "cpu_offload_gb",
];

#[derive(Debug, Args)]
#[command(next_help_heading = "Recommend")]
pub struct RecommendArgs {
    /// Find the cheapest cards that hold the load, with what they would do and the commands to run there. --gpu may list
    /// several cards; without it, or with all, every known card is tried, by 1, 2, 4 and 8 GPUs unless --gpus says
    /// otherwise. --max-model-len is the context; without --input-len and --output-len requests fill it
    #[arg(long, conflicts_with_all = NOT_TIMED)]
    pub recommend: bool,
    /// Requests a second, in place of --concurrency
    #[arg(long, value_name = "R", value_parser = values::positive_number, requires = "recommend", conflicts_with = "concurrency")]
    pub request_rate: Option<f64>,
    /// Limits of latency, as in capacity: ttft:MS,tpot:MS,e2el:MS,...
    #[arg(long, value_name = "SLO", value_parser = objective, requires = "recommend")]
    pub slo: Option<Objective>,
    /// Of the latencies: p50, p90, p95 or p99
    #[arg(long, value_name = "P", default_value = "p95", value_parser = percentile)]
    pub percentile: u32,
    /// US dollars an hour of one card, in place of the table's; or a TOML file of prices
    #[arg(
        long,
        value_name = "CARD=USD|FILE",
        value_delimiter = ',',
        requires = "recommend"
    )]
    pub price: Vec<String>,
    /// US dollars an hour that all GPUs together may cost
    #[arg(long, value_name = "USD", value_parser = values::positive_number, requires = "recommend")]
    pub max_price: Option<f64>,
    /// Layouts to tell of
    #[arg(long, value_name = "N", default_value_t = TOP, value_parser = values::positive)]
    pub top: usize,
    /// What stdout shows
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "json")]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table, and the commands of the first layout
    Table,
    /// A table and the commands of all layouts
    Markdown,
    /// As --json
    Json,
}
