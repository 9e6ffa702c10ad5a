//! How GPUs are set up and joined, by NVML: what is asked once, while `nvml` reads what changes.

use std::collections::BTreeMap;

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, P2pCapabilitiesIndex, P2pStatus, TopologyLevel};
use nvml_wrapper::error::NvmlError;

use super::nvml::{MILLI, find, processes};
use crate::ground::GpuIdentity;
use crate::ground::results::{GpuInfo, GpuLink, GpuProcess};

const GIB: f64 = (1_u64 << 30) as f64;
/// `NVML_AFFINITY_SCOPE_NODE`.
const NODE: u32 = 0;

/// What was told, and why the rest was not.
#[derive(Default)]
struct Told(BTreeMap<String, String>);

impl Told {
    fn note<T>(&mut self, name: &str, reading: Result<T, String>) -> Option<T> {
        reading
            .map_err(|reason| self.0.insert(name.to_owned(), reason))
            .ok()
    }

    fn ask<T>(
        &mut self,
        name: &str,
        device: &Result<Device<'static>, String>,
        question: impl FnOnce(&Device<'static>) -> Result<T, NvmlError>,
    ) -> Option<T> {
        let device = device.as_ref().map_err(Clone::clone);
        let reading = device.and_then(|device| question(device).map_err(refused));
        self.note(name, reading)
    }
}

/// Everything that NVML tells of `gpu`, of which this program must not have taken any yet.
pub fn read(gpu: &GpuIdentity) -> GpuInfo {
    let device = &find(gpu);
    let mut told = Told::default();
    GpuInfo {
        index: gpu.index,
        name: gpu.name.clone(),
        memory_gib: gpu.memory_bytes as f64 / GIB,
        pci_bus_id: gpu.pci_bus_id.clone(),
        numa_node: told.ask("numa_node", device, numa_node),
        pcie_generation: told.ask("pcie_generation", device, Device::current_pcie_link_gen),
        pcie_generation_max: told.ask("pcie_generation_max", device, Device::max_pcie_link_gen),
        pcie_width: told.ask("pcie_width", device, Device::current_pcie_link_width),
        pcie_width_max: told.ask("pcie_width_max", device, Device::max_pcie_link_width),
        power_limit_watts: told.ask("power_limit_watts", device, |d| {
            watts(d.enforced_power_limit())
        }),
        power_limit_default_watts: told.ask("power_limit_default_watts", device, |d| {
            watts(d.power_management_limit_default())
        }),
        application_sm_clock_mhz: told.ask("application_sm_clock_mhz", device, |d| {
            d.applications_clock(Clock::SM)
        }),
        application_memory_clock_mhz: told.ask("application_memory_clock_mhz", device, |d| {
            d.applications_clock(Clock::Memory)
        }),
        sm_clock_max_mhz: told.ask("sm_clock_max_mhz", device, |d| d.max_clock_info(Clock::SM)),
        memory_clock_max_mhz: told.ask("memory_clock_max_mhz", device, |d| {
            d.max_clock_info(Clock::Memory)
        }),
        ecc: told.ask("ecc", device, |d| Ok(d.is_ecc_enabled()?.currently_enabled)),
        mig: told.ask("mig", device, |d| Ok(d.mig_mode()?.current != 0)),
        other_processes: told.ask("other_processes", device, others),
        not_observed: told.0,
    }
}

/// What lies between each two of `gpus`; `p2p` is for CUDA to say.
pub fn links(
    gpus: &[GpuIdentity],
    p2p: impl Fn(usize, usize) -> Result<bool, String>,
) -> Vec<GpuLink> {
    let pairs = gpus.iter().enumerate();
    let pairs = pairs.flat_map(|(at, one)| gpus[at + 1..].iter().map(move |other| (one, other)));
    let link = |(one, other): (&GpuIdentity, &GpuIdentity)| {
        let mut told = Told::default();
        GpuLink {
            gpus: [one.index, other.index],
            path: told.note("path", path(one, other)),
            nvlink: told.note("nvlink", nvlink(one, other)),
            p2p: told.note("p2p", p2p(one.index, other.index)),
            not_observed: told.0,
        }
    };
    pairs.map(link).collect()
}

fn refused(error: NvmlError) -> String {
    format!("NVML: {error}")
}

fn watts(milliwatts: Result<u32, NvmlError>) -> Result<f64, NvmlError> {
    milliwatts.map(|milliwatts| f64::from(milliwatts) * MILLI)
}

/// The lowest of those that are nearest.
fn numa_node(device: &Device<'static>) -> Result<u32, NvmlError> {
    let nodes = device.memory_affinity(1, NODE)?;
    let lowest = nodes.first().filter(|&&nodes| nodes != 0);
    lowest
        .map(|nodes| nodes.trailing_zeros())
        .ok_or(NvmlError::NotFound)
}

fn path(one: &GpuIdentity, other: &GpuIdentity) -> Result<String, String> {
    let level = find(one)?.topology_common_ancestor(find(other)?);
    let name = match level.map_err(refused)? {
        TopologyLevel::Internal => "board",
        TopologyLevel::Single => "PIX",
        TopologyLevel::Multiple => "PXB",
        TopologyLevel::HostBridge => "PHB",
        TopologyLevel::Node => "NODE",
        TopologyLevel::System => "SYS",
    };
    Ok(name.to_owned())
}

fn nvlink(one: &GpuIdentity, other: &GpuIdentity) -> Result<bool, String> {
    let status = find(one)?.p2p_status(&find(other)?, P2pCapabilitiesIndex::NvLink);
    Ok(status.map_err(refused)? == P2pStatus::Ok)
}

/// Processes on the card but for this one.
fn others(device: &Device<'static>) -> Result<Vec<GpuProcess>, NvmlError> {
    let mut all = processes(device)?;
    all.retain(|process| process.pid != std::process::id());
    Ok(all)
}
