//! The GPUs of a machine as they were set up when the program first looked, before it took any of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One GPU. A null has its reason in `not_observed`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GpuInfo {
    /// CUDA's ordinal.
    pub index: usize,
    pub name: String,
    pub memory_gib: f64,
    pub pci_bus_id: String,
    /// Of the host's memory that is nearest to it.
    pub numa_node: Option<u32>,
    /// Of the link as it was then: an idle card lowers it.
    pub pcie_generation: Option<u32>,
    /// The most that card and slot can do together.
    pub pcie_generation_max: Option<u32>,
    /// Lanes.
    pub pcie_width: Option<u32>,
    pub pcie_width_max: Option<u32>,
    pub power_limit_watts: Option<f64>,
    pub power_limit_default_watts: Option<f64>,
    /// What applications may run at: below the maximum where somebody has set it so.
    pub application_sm_clock_mhz: Option<u32>,
    pub application_memory_clock_mhz: Option<u32>,
    pub sm_clock_max_mhz: Option<u32>,
    pub memory_clock_max_mhz: Option<u32>,
    /// Memory corrects errors.
    pub ecc: Option<bool>,
    /// The card is cut into instances.
    pub mig: Option<bool>,
    /// That use the card beside this program.
    pub other_processes: Option<Vec<GpuProcess>>,
    pub not_observed: BTreeMap<String, String>,
}

/// A process on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GpuProcess {
    /// As the driver numbers it, which in a container need not be as the program sees it.
    pub pid: u32,
    /// Of the GPU; null where the driver does not tell.
    pub memory_bytes: Option<u64>,
}

/// What lies between two GPUs. A null has its reason in `not_observed`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GpuLink {
    /// CUDA's ordinals, the lower one first.
    pub gpus: [usize; 2],
    /// As `nvidia-smi topo` writes it: `PIX` (one PCIe switch), `PXB` (several), `PHB` (a host bridge), `NODE` (bridges
    /// of one NUMA node), `SYS` (between NUMA nodes), or `board`: one board holds both.
    pub path: Option<String>,
    pub nvlink: Option<bool>,
    /// Each reaches the other's memory, as CUDA says.
    pub p2p: Option<bool>,
    pub not_observed: BTreeMap<String, String>,
}
