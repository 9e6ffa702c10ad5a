//! NVML: names and sizes from the configuration, readings from its script.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use crate::calls::{export, put, put_text, text};
use crate::driver::config::{Device, Telemetry};
use crate::driver::driver;

pub(super) const INVALID_ARGUMENT: i32 = 2;
pub(super) const NOT_SUPPORTED: i32 = 3;
pub(super) const INSUFFICIENT_SIZE: i32 = 7;
const NOT_FOUND: i32 = 6;
const BASE: u64 = 0x4e56_0000;
const STEP: u64 = 16;
const CUDA_VERSION: i32 = 13000;
const MILLI: f64 = 1000.0;
/// Seconds that a reading stands for in the energy counter.
const READING_SECONDS: f64 = 0.1;

/// Of `nvmlClockType_t`.
pub(super) const MEMORY_CLOCK: i32 = 2;

pub(super) fn device_of(handle: u64) -> Result<usize, i32> {
    let device = handle.checked_sub(BASE).ok_or(INVALID_ARGUMENT)? / STEP;
    if (device as usize) < driver().config.device.len() {
        Ok(device as usize)
    } else {
        Err(INVALID_ARGUMENT)
    }
}

pub(super) fn of(handle: u64) -> Result<(&'static Device, &'static Telemetry), i32> {
    let device = &driver().config.device[device_of(handle)?];
    Ok((device, &device.telemetry))
}

/// The script's next value for this reading of this device. An empty list is a refused reading.
fn next<T: Copy>(handle: u64, reading: &'static str, script: &[T]) -> Result<T, i32> {
    static READ: LazyLock<Mutex<HashMap<(u64, &'static str), usize>>> =
        LazyLock::new(Mutex::default);
    if script.is_empty() {
        return Err(NOT_SUPPORTED);
    }
    let mut read = READ.lock().unwrap_or_else(|e| e.into_inner());
    let at = read.entry((handle, reading)).or_default();
    *at += 1;
    Ok(script[(*at - 1) % script.len()])
}

#[repr(C)]
pub struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

#[repr(C)]
pub struct MemoryV2 {
    version: u32,
    total: u64,
    reserved: u64,
    free: u64,
    used: u64,
}

#[repr(C)]
pub struct Pci {
    legacy: [u8; 16],
    domain: u32,
    bus: u32,
    device: u32,
    device_id: u32,
    subsystem_id: u32,
    id: [u8; 32],
}

fn memory(handle: u64) -> Result<Memory, i32> {
    let device = device_of(handle)?;
    let total = driver().config.device[device].memory();
    let free = driver().world().free_memory(device, driver());
    Ok(Memory {
        total,
        free,
        used: total - free,
    })
}

fn uuid(device: usize) -> String {
    let hex: String = crate::calls::device_uuid(device)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!(
        "GPU-{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

export! {
    fn nvmlInit_v2() {
        driver();
        Ok(())
    }
    fn nvmlInitWithFlags(_flags: u32) {
        driver();
        Ok(())
    }
    fn nvmlShutdown() {
        Ok(())
    }
    fn nvmlSystemGetDriverVersion(version: *mut i8, length: u32) {
        put_text(version, length as usize, &driver().config.device[0].telemetry.driver)
    }
    fn nvmlSystemGetNVMLVersion(version: *mut i8, length: u32) {
        put_text(version, length as usize, &format!("13.{}", driver().config.device[0].telemetry.driver))
    }
    fn nvmlSystemGetCudaDriverVersion(version: *mut i32) {
        put(version, CUDA_VERSION)
    }
    fn nvmlSystemGetCudaDriverVersion_v2(version: *mut i32) {
        put(version, CUDA_VERSION)
    }
    fn nvmlDeviceGetCount_v2(count: *mut u32) {
        put(count, driver().config.device.len() as u32)
    }
    fn nvmlDeviceGetHandleByIndex_v2(index: u32, handle: *mut u64) {
        let known = (index as usize) < driver().config.device.len();
        if known { put(handle, BASE + u64::from(index) * STEP) } else { Err(INVALID_ARGUMENT) }
    }
    fn nvmlDeviceGetHandleByUUID(wanted: *const i8, handle: *mut u64) {
        let wanted = text(wanted)?;
        let found = (0..driver().config.device.len()).find(|d| uuid(*d) == wanted);
        put(handle, BASE + found.ok_or(NOT_FOUND)? as u64 * STEP)
    }
    fn nvmlDeviceGetHandleByPciBusId_v2(wanted: *const i8, handle: *mut u64) {
        let wanted = text(wanted)?;
        let found = (0..driver().config.device.len()).find(|d| crate::calls::device_pci(*d).ends_with(wanted.trim_start_matches('0')));
        put(handle, BASE + found.ok_or(NOT_FOUND)? as u64 * STEP)
    }
    fn nvmlDeviceGetIndex(handle: u64, index: *mut u32) {
        put(index, device_of(handle)? as u32)
    }
    fn nvmlDeviceGetName(handle: u64, name: *mut i8, length: u32) {
        put_text(name, length as usize, &of(handle)?.0.name)
    }
    fn nvmlDeviceGetUUID(handle: u64, out: *mut i8, length: u32) {
        put_text(out, length as usize, &uuid(device_of(handle)?))
    }
    fn nvmlDeviceGetPciInfo_v3(handle: u64, pci: *mut Pci) {
        let device = device_of(handle)?;
        let name = crate::calls::device_pci(device);
        let mut id = [0; 32];
        id[..name.len()].copy_from_slice(name.as_bytes());
        let mut legacy = [0; 16];
        legacy[..name.len() - 4].copy_from_slice(&name.as_bytes()[4..]);
        put(pci, Pci { legacy, domain: 0, bus: device as u32 + 1, device: 0, device_id: 0x2684_10de, subsystem_id: 0, id })
    }
    fn nvmlDeviceGetCudaComputeCapability(handle: u64, major: *mut i32, minor: *mut i32) {
        let compute = of(handle)?.0.compute as i32;
        put(major, compute / 10)?;
        put(minor, compute % 10)
    }
    fn nvmlDeviceGetMemoryInfo(handle: u64, out: *mut Memory) {
        put(out, memory(handle)?)
    }
    fn nvmlDeviceGetMemoryInfo_v2(handle: u64, out: *mut MemoryV2) {
        let m = memory(handle)?;
        let version = crate::calls::take(out.cast::<u32>())?;
        put(out, MemoryV2 { version, total: m.total, reserved: 0, free: m.free, used: m.used })
    }
    fn nvmlDeviceGetPowerUsage(handle: u64, milliwatts: *mut u32) {
        put(milliwatts, (next(handle, "power", &of(handle)?.1.power_watts)? * MILLI) as u32)
    }
    fn nvmlDeviceGetPowerManagementLimit(handle: u64, milliwatts: *mut u32) {
        put(milliwatts, (of(handle)?.1.power_limit_watts * MILLI) as u32)
    }
    fn nvmlDeviceGetEnforcedPowerLimit(handle: u64, milliwatts: *mut u32) {
        put(milliwatts, (of(handle)?.1.power_limit_watts * MILLI) as u32)
    }
    fn nvmlDeviceGetTotalEnergyConsumption(handle: u64, millijoules: *mut u64) {
        let telemetry = of(handle)?.1;
        if !telemetry.energy_counter {
            return Err(NOT_SUPPORTED);
        }
        // It grows with each reading by what the script's first power makes of a tenth of a second.
        static READINGS: Mutex<u64> = Mutex::new(0);
        let mut readings = READINGS.lock().unwrap_or_else(|e| e.into_inner());
        *readings += 1;
        let watts = telemetry.power_watts.first().copied().unwrap_or(0.0);
        put(millijoules, (*readings as f64 * watts * READING_SECONDS * MILLI) as u64)
    }
    fn nvmlDeviceGetTemperature(handle: u64, _sensor: i32, celsius: *mut u32) {
        put(celsius, next(handle, "temperature", &of(handle)?.1.celsius)?)
    }
    fn nvmlDeviceGetClockInfo(handle: u64, kind: i32, mhz: *mut u32) {
        let telemetry = of(handle)?.1;
        put(mhz, if kind == MEMORY_CLOCK {
            next(handle, "memory clock", &telemetry.memory_clock_mhz)?
        } else {
            next(handle, "clock", &telemetry.clock_mhz)?
        })
    }
    fn nvmlDeviceGetMaxClockInfo(handle: u64, kind: i32, mhz: *mut u32) {
        let device = of(handle)?.0;
        put(mhz, if kind == MEMORY_CLOCK { device.memory_clock_mhz } else { device.clock_mhz })
    }
    fn nvmlDeviceGetUtilizationRates(handle: u64, rates: *mut [u32; 2]) {
        let gpu = next(handle, "utilisation", &of(handle)?.1.utilisation)?;
        put(rates, [gpu, gpu / 2])
    }
    fn nvmlDeviceGetCurrentClocksThrottleReasons(handle: u64, reasons: *mut u64) {
        put(reasons, next(handle, "throttle", &of(handle)?.1.throttle)?)
    }
    fn nvmlDeviceGetCurrentClocksEventReasons(handle: u64, reasons: *mut u64) {
        put(reasons, next(handle, "throttle", &of(handle)?.1.throttle)?)
    }
    fn nvmlDeviceGetFanSpeed(handle: u64, percent: *mut u32) {
        put(percent, next(handle, "fan", &of(handle)?.1.fan)?)
    }
    fn nvmlDeviceGetPerformanceState(handle: u64, state: *mut i32) {
        device_of(handle)?;
        put(state, 2)
    }
}

/// Text for a code.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(code: i32) -> *const i8 {
    let text: &[u8] = match code {
        0 => b"The operation was successful\0",
        INVALID_ARGUMENT => b"A supplied argument is invalid\0",
        NOT_SUPPORTED => b"The requested operation is not available on the target device\0",
        NOT_FOUND => b"A query to find an object was unsuccessful\0",
        INSUFFICIENT_SIZE => b"An input argument is not large enough\0",
        _ => b"An error occurred\0",
    };
    text.as_ptr().cast()
}
