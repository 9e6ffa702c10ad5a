//! GPUs through NVML, the driver's own library of counters (NVML API reference, "Device Queries"). Without it, or
//! with a counter that a card does not have, readings are `None` with the reason, and the run goes on.

use std::sync::OnceLock;

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use super::gpus::GpuProbe;
use crate::ground::{GpuCounter, GpuIdentity, GpuSample, Refused};

/// NVML counts power and energy in thousandths.
const MILLI: f64 = 1e-3;
const COUNTERS: [GpuCounter; 8] = [
    GpuCounter::Memory,
    GpuCounter::Power,
    GpuCounter::Temperature,
    GpuCounter::SmClock,
    GpuCounter::MemoryClock,
    GpuCounter::Utilization,
    GpuCounter::Energy,
    GpuCounter::Throttle,
];

/// The GPUs of a run, opened once.
#[derive(Debug)]
pub struct NvmlProbe {
    gpus: Vec<(GpuIdentity, Result<Device<'static>, String>)>,
}

impl NvmlProbe {
    /// Finds each GPU by its place on the PCI bus: NVML counts GPUs in that order and all of them, CUDA those that it
    /// may see and in an order of its own.
    pub fn open(gpus: Vec<GpuIdentity>) -> Self {
        let found = |gpu: &GpuIdentity| {
            let device = library()?.device_by_pci_bus_id(gpu.pci_bus_id.as_str());
            device.map_err(|e| format!("NVML does not find the GPU at {}: {e}", gpu.pci_bus_id))
        };
        let opened = gpus.into_iter().map(|gpu| {
            let device = found(&gpu);
            (gpu, device)
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
            .find_map(|(_, device)| device.as_ref().err());
        failed.map(String::as_str)
    }
}

impl GpuProbe for NvmlProbe {
    fn gpus(&self) -> Vec<GpuIdentity> {
        self.gpus.iter().map(|(gpu, _)| gpu.clone()).collect()
    }

    fn sample(&self, gpu: usize, refused: &mut Refused) -> GpuSample {
        match &self.gpus[gpu].1 {
            Ok(device) => read(device, refused),
            Err(reason) => {
                for counter in COUNTERS {
                    refused.entry(counter).or_insert_with(|| reason.clone());
                }
                GpuSample::default()
            }
        }
    }
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
    }
}

/// The reading, or its refusal kept.
fn told<T>(refused: &mut Refused, counter: GpuCounter, reading: Result<T, NvmlError>) -> Option<T> {
    reading
        .map_err(|error| {
            refused
                .entry(counter)
                .or_insert_with(|| format!("NVML: {error}"));
        })
        .ok()
}
