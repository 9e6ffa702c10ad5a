//! Results -> text and files. Returns strings or writes the files it is given; prints nothing.

pub mod capacity;
pub mod cards;
mod columns;
pub mod comparison;
pub mod csv;
pub mod explain;
pub mod files;
pub mod fit;
mod gpus;
pub mod grid;
mod headline;
pub mod layout;
mod limits;
pub mod markdown;
pub mod model;
pub mod number;
pub mod page;
mod place;
pub mod profile;
pub mod recommend;
pub mod rows;
pub mod server_cost;
pub mod shapes;
pub mod sweep;
pub mod table;
pub mod vllm;

use crate::ground::results::Results;

pub use crate::bench::RawRun;
pub use files::{Page, write_all};
pub use headline::{headline, play_names};
pub use markdown::markdown;
pub use place::{Listed, MANIFEST, Manifest, PAGE, claims, prepare};
pub use server_cost::server_cost;
pub use table::table;

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("--out {path}: cannot be written ({source}); give a directory that can")]
    Write {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "--out {0}: cannot be written, for it is no directory; give one, or the name of a new one"
    )]
    NotADirectory(String),
    #[error("--out {dir}: holds a result ({sign}); give another directory, or --overwrite")]
    Taken { dir: String, sign: &'static str },
    #[error(
        "--out {dir}: another result came there meanwhile ({sign}); this one is in {aside}: give the next one another directory, or --overwrite"
    )]
    Outrun {
        dir: String,
        sign: &'static str,
        aside: String,
    },
    #[error("--out: {file}: could not be written ({source}); what could be written is in {aside}")]
    Incomplete {
        file: String,
        aside: String,
        source: std::io::Error,
    },
    #[error("results cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// `results.json`: one object, indented.
///
/// # Errors
/// `Json`, which only a number outside JSON could cause.
pub fn json(results: &Results) -> Result<String, ReportError> {
    let mut text = serde_json::to_string_pretty(results)?;
    text.push('\n');
    Ok(text)
}
