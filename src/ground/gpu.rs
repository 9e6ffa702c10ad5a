//! GPUs that take part in a run: which they are, and what was read from them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A GPU as the CUDA driver shows it; no context is needed to ask.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GpuIdentity {
    /// CUDA's ordinal, which `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER` decide.
    pub index: usize,
    pub name: String,
    /// `domain:bus:device.function`: the name of the card outside of CUDA.
    pub pci_bus_id: String,
    pub memory_bytes: u64,
    /// Compute capability, major * 10 + minor.
    pub capability: u32,
}

/// What one GPU told at one time; `None` where it refused.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GpuSample {
    /// In use by anyone.
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    pub power_watts: Option<f64>,
    pub temperature_c: Option<f64>,
    /// The graphics clock runs with it.
    pub sm_clock_mhz: Option<f64>,
    pub memory_clock_mhz: Option<f64>,
    /// Part of the driver's last interval in which a kernel ran.
    pub utilization_percent: Option<f64>,
    /// Since the driver was loaded.
    pub energy_j: Option<f64>,
    /// Bits of NVML's `nvmlClocksEventReasons`.
    pub throttle_bits: Option<u64>,
    /// Of the link as it is, which an idle card lowers; and its lanes.
    pub pcie_generation: Option<u32>,
    pub pcie_width: Option<u32>,
    /// Beside this one, as they were listed last: at most a second before.
    pub other_processes: Option<u32>,
}

/// What a GPU is asked in each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GpuCounter {
    Memory,
    Power,
    Temperature,
    SmClock,
    MemoryClock,
    Utilization,
    Energy,
    Throttle,
    PcieLink,
    Processes,
}

/// Counters that one GPU refused to tell, and its first reason for each.
pub type Refused = BTreeMap<GpuCounter, String>;

/// A GPU that was sampled through a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WatchedGpu {
    pub gpu: GpuIdentity,
    /// The machine that it is in; `None`: this one.
    pub host: Option<String>,
    pub refused: Refused,
    /// Mean power while nothing ran, before the load.
    #[serde(default)]
    pub idle_power_watts: Option<f64>,
}
