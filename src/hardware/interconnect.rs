//! Published measurements of links between GPUs: NCCL all-reduce tables, and what people said of them.

use serde::Deserialize;

use super::HardwareError;

const FILE: &str = "src/hardware/interconnect.json";
const TEXT: &str = include_str!("interconnect.json");

/// All of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interconnect {
    pub tables: Vec<AllReduceTable>,
    pub statements: Vec<Statement>,
}

/// One run of an all-reduce benchmark over message sizes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllReduceTable {
    /// `ic-..` as in the calibration set, `mle-..` for tables added to it.
    pub case_id: String,
    pub collective: String,
    pub name: String,
    pub gpu: String,
    pub gpu_count: usize,
    pub link: String,
    pub p2p: bool,
    /// One process for all GPUs pays for launching on each in turn: some 5 us a GPU at small sizes.
    pub launch: String,
    pub nccl_version: Option<String>,
    pub cuda_graph: bool,
    pub notes: Option<String>,
    pub source: String,
    pub quote: Option<String>,
    pub confidence: String,
    /// By size, ascending.
    pub rows: Vec<AllReduceRow>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllReduceRow {
    /// Bytes that each rank brings.
    pub size_bytes: u64,
    pub time_us: f64,
    /// NCCL's bus bandwidth: 2 (ranks - 1) / ranks x size / time.
    pub busbw_gb_per_s: Option<f64>,
}

/// A figure that came in words.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    pub case_id: String,
    pub statement: String,
    pub source: String,
    pub quote: String,
    pub confidence: String,
}

impl Interconnect {
    /// # Errors
    /// None in a build that passed its tests.
    pub fn load() -> Result<Self, HardwareError> {
        serde_json::from_str(TEXT).map_err(|error| HardwareError::BuiltIn {
            file: FILE,
            reason: error.to_string(),
        })
    }
}
