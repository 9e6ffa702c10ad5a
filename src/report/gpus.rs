//! What each GPU of a run did, in a line.

use super::number::number;
use crate::ground::results::{GpuMetrics, Run};

const MIB: f64 = (1_u64 << 20) as f64;

/// One for each GPU that was watched.
pub(super) fn lines(run: &Run) -> impl Iterator<Item = String> {
    run.gpus.iter().map(line)
}

/// Only what the card told; the metric set says why the rest is null.
fn line(gpu: &GpuMetrics) -> String {
    let figures = [
        pair(gpu.mean_power_watts, gpu.peak_power_watts, "W"),
        pair(gpu.mean_temperature_c, gpu.max_temperature_c, "C"),
        one("SM", gpu.mean_sm_clock_mhz, "MHz"),
        one("memory", gpu.mean_memory_clock_mhz, "MHz"),
        one("busy", gpu.mean_utilization_percent, "%"),
        one(
            "at most",
            gpu.peak_memory_bytes.map(|bytes| bytes as f64 / MIB),
            "MiB",
        ),
        energy(gpu),
        throttled(gpu),
        pcie(gpu),
        shared(gpu),
    ];
    let figures: Vec<String> = figures.into_iter().flatten().collect();
    let told = match figures.is_empty() {
        true => "told nothing".to_owned(),
        false => figures.join(", "),
    };
    let place = gpu.host.as_ref();
    let place = place.map_or(String::new(), |host| format!(" of {host}"));
    format!("GPU {}{place} ({}): {told}", gpu.index, gpu.name)
}

fn pcie(gpu: &GpuMetrics) -> Option<String> {
    Some(format!(
        "PCIe {} x{}",
        gpu.pcie_generation?, gpu.pcie_width?
    ))
}

/// Where the card's figures are not this run's alone.
pub(super) fn shared(gpu: &GpuMetrics) -> Option<String> {
    match gpu.other_processes? {
        0 => None,
        1 => Some("SHARED with another process".to_owned()),
        others => Some(format!("SHARED with {others} other processes")),
    }
}

fn one(what: &str, value: Option<f64>, unit: &str) -> Option<String> {
    Some(format!("{what} {} {unit}", number(value?)))
}

fn pair(mean: Option<f64>, most: Option<f64>, unit: &str) -> Option<String> {
    Some(format!(
        "{} {unit} (at most {})",
        number(mean?),
        number(most?)
    ))
}

/// An integral is marked: it misses what came between samples.
fn energy(gpu: &GpuMetrics) -> Option<String> {
    let joules = one("energy", gpu.energy_j, "J")?;
    match gpu.energy_by.as_deref() {
        Some("power") => Some(format!("{joules} (integral of power)")),
        _ => Some(joules),
    }
}

fn throttled(gpu: &GpuMetrics) -> Option<String> {
    let reasons = gpu.throttled_s.as_ref()?;
    let reasons = reasons
        .iter()
        .map(|(reason, seconds)| format!("{reason} {} s", number(*seconds)));
    let reasons: Vec<String> = reasons.collect();
    match reasons.is_empty() {
        true => Some("never throttled".to_owned()),
        false => Some(format!("throttled: {}", reasons.join(", "))),
    }
}
