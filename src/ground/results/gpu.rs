//! What each GPU of a run was seen to do.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One GPU over the samples between first arrival and last token. A null has its reason in `not_observed`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GpuMetrics {
    /// CUDA's ordinal.
    pub index: usize,
    pub name: String,
    pub pci_bus_id: String,
    /// The machine that it is in; left out where one process has all ranks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// In use by anyone, of all.
    pub mean_memory_percent: Option<f64>,
    pub peak_memory_bytes: Option<u64>,
    pub mean_power_watts: Option<f64>,
    pub peak_power_watts: Option<f64>,
    pub mean_temperature_c: Option<f64>,
    pub max_temperature_c: Option<f64>,
    pub mean_sm_clock_mhz: Option<f64>,
    pub mean_memory_clock_mhz: Option<f64>,
    /// Part of the time in which a kernel ran.
    pub mean_utilization_percent: Option<f64>,
    /// Rise of the card's own counter between the first and the last sample, or the integral of its power between them,
    /// stretched to the whole window.
    pub energy_j: Option<f64>,
    /// `counter` or `power`: which of the two.
    #[serde(default)]
    pub energy_by: Option<String>,
    /// Mean power while nothing ran, before the load.
    #[serde(default)]
    pub idle_power_watts: Option<f64>,
    /// Seconds in which clocks were held back, by NVML's names of the reasons; empty: never.
    pub throttled_s: Option<BTreeMap<String, f64>>,
    /// Highest of the link in a sample, and its lanes.
    #[serde(default)]
    pub pcie_generation: Option<u32>,
    #[serde(default)]
    pub pcie_width: Option<u32>,
    /// Most processes beside this one that used the card at a time: then its figures are not this run's alone.
    #[serde(default)]
    pub other_processes: Option<u32>,
    pub not_observed: BTreeMap<String, String>,
}
