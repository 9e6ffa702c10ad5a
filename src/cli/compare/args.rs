//! Flags of `compare`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::common::OutputArgs;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower compare yesterday/ today/                 each a directory of bench --out\n  \
    candlepower compare today/ vllm.json                  a result of vllm bench serve, or of another tool\n  \
    candlepower compare reference:rtx4090-48g-x2/QwQ-32B/c50 today/\n  \
    candlepower compare main/ --save-baseline main        kept by that name\n  \
    candlepower compare today/ --baseline main            exit 3 where today is slower\n\n\
    Exit codes: 0 done, 2 the command line or a file is wrong, 3 slower beyond the tolerance.")]
pub struct CompareArgs {
    /// Results: directories, files of results or profiles, of this program or others, or reference:NAME. The first is
    /// what the others are divided by
    #[arg(value_name = "RESULT", required = true)]
    pub results: Vec<String>,
    /// Part by which a figure may differ and be called the same, such as 3% or 0.03
    #[arg(long, value_name = "PART", default_value = "3%", value_parser = tolerance)]
    pub tolerance: f64,
    /// Divide all results by the one that was saved under this name
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub baseline: Option<String>,
    /// Keep the last result under this name
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub save_baseline: Option<String>,
    /// Where baselines are kept [default: candlepower/baselines in XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "DIR")]
    pub baselines: Option<PathBuf>,
    /// What stdout shows
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "json")]
    pub format: Format,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for a terminal
    Table,
    /// A table for a pull request
    Markdown,
    /// One line a figure
    Csv,
    /// As --json
    Json,
    /// A page of its own
    Html,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let part = number.trim().parse::<f64>().map(|number| number / unit);
    part.ok()
        .filter(|part| (0.0..1.0).contains(part))
        .ok_or_else(|| "a part from 0 to below 100 %, such as 3% or 0.03".to_owned())
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match text.chars().all(fits) && !text.starts_with('.') && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err("letters, digits, `-`, `_` and `.`, which is not the first".to_owned()),
    }
}
