//! GPUs through NVML, the driver's own library of counters (NVML API reference, "Device Queries"). Without it, or
//! with a counter that a card does not have, readings are `None` with the reason, and the run goes on.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use super::gpus::GpuProbe;
use crate::ground::results::GpuProcess;
use crate::ground::{GpuCounter, GpuIdentity, GpuSample, Refused};

/// NVML counts power and energy in thousandths.
pub(super) const MILLI: f64 = 1e-3;
/// A list of processes holds for so long: the driver takes longer over it than over counters.
const LISTED_FOR: Duration = Duration::from_secs(1);
const COUNTERS: [GpuCounter; 10] = [
    GpuCounter::Memory,
    GpuCounter::Power,
    GpuCounter::Temperature,
    GpuCounter::SmClock,
    GpuCounter::MemoryClock,
    GpuCounter::Utilization,
    GpuCounter::Energy,
    GpuCounter::Throttle,
    GpuCounter::PcieLink,
    GpuCounter::Processes,
];

/// The GPUs of a run, opened once.
#[derive(Debug)]
pub struct NvmlProbe {
    gpus: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    gpu: GpuIdentity,
    device: Result<Device<'static>, String>,
    /// How many other processes there were, and when that was read.
    others: Mutex<Option<(Instant, Result<u32, String>)>>,
}

impl Watched {
    fn others(&self, device: &Device) -> Result<u32, String> {
        let mut known = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.take_if(|(read, _)| read.elapsed() < LISTED_FOR);
        let (_, others) = known.insert(fresh.unwrap_or_else(|| (Instant::now(), others(device))));
        others.clone()
    }
}

impl NvmlProbe {
    pub fn open(gpus: Vec<GpuIdentity>) -> Self {
        let opened = gpus.into_iter().map(|gpu| Watched {
            device: find(&gpu),
            gpu,
            others: Mutex::default(),
        });
        Self {
            gpus: opened.collect(),
        }
    }

    /// Why GPUs of the run are not watched, if any is not.
    pub fn failure(&self) -> Option<&str> {
        let failed = self
            .gpus
            .iter()
            .find_map(|watched| watched.device.as_ref().err());
        failed.map(String::as_str)
    }
}

impl GpuProbe for NvmlProbe {
    fn gpus(&self) -> Vec<GpuIdentity> {
        self.gpus
            .iter()
            .map(|watched| watched.gpu.clone())
            .collect()
    }

    fn sample(&self, gpu: usize, refused: &mut Refused) -> GpuSample {
        let watched = &self.gpus[gpu];
        match &watched.device {
            Ok(device) => GpuSample {
                other_processes: note(refused, GpuCounter::Processes, watched.others(device)),
                ..read(device, refused)
            },
            Err(reason) => {
                for counter in COUNTERS {
                    refused.entry(counter).or_insert_with(|| reason.clone());
                }
                GpuSample::default()
            }
        }
    }
}

/// A GPU by its place on the PCI bus: NVML counts GPUs in that order and all of them, CUDA those that it may see and in
/// an order of its own.
pub(super) fn find(gpu: &GpuIdentity) -> Result<Device<'static>, String> {
    let device = library()?.device_by_pci_bus_id(gpu.pci_bus_id.as_str());
    device.map_err(|e| format!("NVML does not find the GPU at {}: {e}", gpu.pci_bus_id))
}

/// Version of the driver, such as 580.82.07.
pub fn driver_version() -> Option<String> {
    library().ok()?.sys_driver_version().ok()
}

/// The newest CUDA that the driver can run, such as 13.0.
pub fn cuda_version() -> Option<String> {
    let version = library().ok()?.sys_cuda_driver_version().ok()?;
    let (major, minor) = (
        cuda_driver_version_major(version),
        cuda_driver_version_minor(version),
    );
    Some(format!("{major}.{minor}"))
}

/// Started once a process, at the first question.
fn library() -> Result<&'static Nvml, String> {
    static NVML: OnceLock<Result<Nvml, String>> = OnceLock::new();
    let nvml = NVML.get_or_init(|| Nvml::init().map_err(|e| format!("NVML does not start: {e}")));
    nvml.as_ref().map_err(Clone::clone)
}

fn read(device: &Device, refused: &mut Refused) -> GpuSample {
    let memory = told(refused, GpuCounter::Memory, device.memory_info());
    let milliwatts = told(refused, GpuCounter::Power, device.power_usage());
    let celsius = device.temperature(TemperatureSensor::Gpu);
    let sm_clock = device.clock_info(Clock::SM);
    let memory_clock = device.clock_info(Clock::Memory);
    let utilization = told(refused, GpuCounter::Utilization, device.utilization_rates());
    let millijoules = told(
        refused,
        GpuCounter::Energy,
        device.total_energy_consumption(),
    );
    let throttle = device.current_throttle_reasons();
    let (generation, width) = (
        device.current_pcie_link_gen(),
        device.current_pcie_link_width(),
    );
    GpuSample {
        memory_used_bytes: memory.as_ref().map(|m| m.used),
        memory_total_bytes: memory.map(|m| m.total),
        power_watts: milliwatts.map(|mw| f64::from(mw) * MILLI),
        temperature_c: told(refused, GpuCounter::Temperature, celsius).map(f64::from),
        sm_clock_mhz: told(refused, GpuCounter::SmClock, sm_clock).map(f64::from),
        memory_clock_mhz: told(refused, GpuCounter::MemoryClock, memory_clock).map(f64::from),
        utilization_percent: utilization.map(|rates| f64::from(rates.gpu)),
        energy_j: millijoules.map(|mj| mj as f64 * MILLI),
        throttle_bits: told(refused, GpuCounter::Throttle, throttle).map(|reasons| reasons.bits()),
        pcie_generation: told(refused, GpuCounter::PcieLink, generation),
        pcie_width: told(refused, GpuCounter::PcieLink, width),
        other_processes: None,
    }
}

/// Processes on the card, by their numbers.
pub(super) fn processes(device: &Device) -> Result<Vec<GpuProcess>, NvmlError> {
    let mut all = device.running_compute_processes()?;
    // A card that only computes refuses these.
    all.extend(device.running_graphics_processes().unwrap_or_default());
    let each = all.into_iter().map(|process| GpuProcess {
        pid: process.pid,
        memory_bytes: match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
    });
    let mut each: Vec<GpuProcess> = each.collect();
    each.sort_by_key(|process| process.pid);
    each.dedup_by_key(|process| process.pid);
    Ok(each)
}

/// How many processes use a card that this one has taken.
fn others(device: &Device) -> Result<u32, String> {
    let all = processes(device).map_err(|error| format!("NVML: {error}"))?;
    // In a container this process may have another number here: of those that are listed it is one.
    let others = all.len().checked_sub(1);
    let others = others.ok_or("NVML lists no process on the card, not even this one")?;
    Ok(others as u32)
}

fn told<T>(refused: &mut Refused, counter: GpuCounter, reading: Result<T, NvmlError>) -> Option<T> {
    note(
        refused,
        counter,
        reading.map_err(|error| format!("NVML: {error}")),
    )
}

/// The reading, or its refusal kept.
fn note<T>(refused: &mut Refused, counter: GpuCounter, reading: Result<T, String>) -> Option<T> {
    reading
        .map_err(|reason| refused.entry(counter).or_insert(reason))
        .ok()
}
