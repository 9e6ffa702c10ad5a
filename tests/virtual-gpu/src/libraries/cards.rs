//! NVML: how cards are set up, what lies between them, and who uses them.

use super::nvml::{
    INSUFFICIENT_SIZE, INVALID_ARGUMENT, MEMORY_CLOCK, NOT_SUPPORTED, device_of, of,
};
use crate::calls::{export, put, take};
use crate::driver::config::Process;
use crate::driver::driver;

const MIB: u64 = 1 << 20;
const MILLI: f64 = 1000.0;
/// Of `nvmlGpuTopologyLevel_t`.
const HOST_BRIDGE: i32 = 30;
const NODE: i32 = 40;
const SYSTEM: i32 = 50;
/// Of `nvmlGpuP2PCapsIndex_t`: `READ` and `WRITE` come before it.
const NVLINK: i32 = 2;
/// Of `nvmlGpuP2PStatus_t`.
const OK: i32 = 0;
const NO_P2P: i32 = 5;
/// Of instances: there is none.
const NO_INSTANCE: u32 = u32::MAX;

#[repr(C)]
pub struct ProcessInfo {
    pid: u32,
    memory: u64,
    gpu_instance: u32,
    compute_instance: u32,
}

fn computing(handle: u64) -> Result<Vec<ProcessInfo>, i32> {
    let (card, telemetry) = of(handle)?;
    let device = device_of(handle)?;
    let mut all = telemetry.process.clone();
    let world = driver().world();
    if world.cards[device].retained > 0 {
        let bytes = card.memory() - world.free_memory(device, driver());
        all.push(Process {
            pid: std::process::id(),
            mib: bytes / MIB,
        });
    }
    let info = |process: Process| ProcessInfo {
        pid: process.pid,
        memory: process.mib * MIB,
        gpu_instance: NO_INSTANCE,
        compute_instance: NO_INSTANCE,
    };
    Ok(all.into_iter().map(info).collect())
}

/// As C asks for lists: with too little room it is told how much there must be.
fn listed(all: Vec<ProcessInfo>, count: *mut u32, infos: *mut ProcessInfo) -> Result<(), i32> {
    let room = take(count)?;
    put(count, all.len() as u32)?;
    if all.len() > room as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    for (at, info) in all.into_iter().enumerate() {
        put(infos.wrapping_add(at), info)?;
    }
    Ok(())
}

fn switch(told: Option<bool>, now: *mut i32, later: *mut i32) -> Result<(), i32> {
    let on = i32::from(told.ok_or(NOT_SUPPORTED)?);
    put(now, on)?;
    put(later, on)
}

export! {
    fn nvmlDeviceGetCurrPcieLinkGeneration(handle: u64, generation: *mut u32) {
        put(generation, of(handle)?.1.pcie_generation)
    }
    fn nvmlDeviceGetCurrPcieLinkWidth(handle: u64, width: *mut u32) {
        put(width, of(handle)?.1.pcie_width)
    }
    fn nvmlDeviceGetMaxPcieLinkGeneration(handle: u64, generation: *mut u32) {
        put(generation, of(handle)?.1.pcie_generation_max)
    }
    fn nvmlDeviceGetMaxPcieLinkWidth(handle: u64, width: *mut u32) {
        put(width, of(handle)?.1.pcie_width_max)
    }
    fn nvmlDeviceGetPowerManagementDefaultLimit(handle: u64, milliwatts: *mut u32) {
        put(milliwatts, (of(handle)?.1.power_limit_default_watts * MILLI) as u32)
    }
    fn nvmlDeviceGetApplicationsClock(handle: u64, kind: i32, mhz: *mut u32) {
        let (card, telemetry) = of(handle)?;
        let clock = telemetry.application_clock_mhz.ok_or(NOT_SUPPORTED)?;
        put(mhz, if kind == MEMORY_CLOCK { card.memory_clock_mhz } else { clock })
    }
    fn nvmlDeviceGetEccMode(handle: u64, now: *mut i32, later: *mut i32) {
        switch(of(handle)?.1.ecc, now, later)
    }
    fn nvmlDeviceGetMigMode(handle: u64, now: *mut i32, later: *mut i32) {
        switch(of(handle)?.1.mig, now, later)
    }
    fn nvmlDeviceGetMemoryAffinity(handle: u64, size: u32, nodes: *mut u64, _scope: u32) {
        let node = of(handle)?.1.numa_node;
        if size == 0 || node >= u64::BITS {
            return Err(INVALID_ARGUMENT);
        }
        put(nodes, 1 << node)
    }
    fn nvmlDeviceGetTopologyCommonAncestor(one: u64, other: u64, level: *mut i32) {
        let (one, other) = (of(one)?.1, of(other)?.1);
        put(level, match (one.numa_node == other.numa_node, one.bridge == other.bridge) {
            (true, true) => HOST_BRIDGE,
            (true, false) => NODE,
            (false, _) => SYSTEM,
        })
    }
    fn nvmlDeviceGetP2PStatus(one: u64, other: u64, capability: i32, status: *mut i32) {
        device_of(one)?;
        device_of(other)?;
        let can = capability < NVLINK && driver().config.peer_access;
        put(status, if can { OK } else { NO_P2P })
    }
    fn nvmlDeviceGetComputeRunningProcesses_v3(handle: u64, count: *mut u32, infos: *mut ProcessInfo) {
        listed(computing(handle)?, count, infos)
    }
    fn nvmlDeviceGetGraphicsRunningProcesses_v3(handle: u64, count: *mut u32, infos: *mut ProcessInfo) {
        device_of(handle)?;
        listed(Vec::new(), count, infos)
    }
}
