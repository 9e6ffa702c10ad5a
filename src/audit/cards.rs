//! What GPUs told, against what they are: clocks, power, temperature, and why they were held back.

use super::{Evidence, held, name_of};
use crate::ground::GpuSample;
use crate::ground::results::{Check, GpuInfo};

/// Part by which a reading may pass a limit: it is a mean over some time, or a step above.
const ABOVE: f64 = 1.05;
/// Power is averaged by the card, and peaks pass its limit for a moment.
const POWER_ABOVE: f64 = 1.25;
/// Degrees at which no card runs.
const HOTTEST: f64 = 120.0;
/// Of the highest clock: below it a busy card that nothing holds back is not.
const SLOW: f64 = 0.5;
const BUSY: f64 = 95.0;

pub fn checks(evidence: &Evidence, run: usize) -> Option<Check> {
    let outcome = cards(evidence, run)?;
    let name = name_of(evidence, run, "GPUs stay what they are");
    Some(held(name, outcome))
}

fn cards(evidence: &Evidence, run: usize) -> Option<Result<String, String>> {
    let watched = &evidence.results.runs[run].gpus;
    if watched.is_empty() {
        return None;
    }
    let samples = &evidence.raw[run].telemetry;
    for (at, gpu) in watched.iter().enumerate() {
        let cards = evidence.results.environment.gpus.iter();
        let card = cards
            .into_iter()
            .find(|card| card.pci_bus_id == gpu.pci_bus_id);
        let Some(card) = card else {
            continue;
        };
        for sample in samples {
            let Some(reading) = sample.gpus.get(at) else {
                continue;
            };
            if let Err(fault) = reading_of(card, reading) {
                let (index, time) = (gpu.index, sample.time);
                return Some(Err(format!("GPU {index} at {time:.3} s: {fault}")));
            }
        }
        let clock = gpu.mean_sm_clock_mhz.zip(card.sm_clock_max_mhz);
        let is_free = gpu.throttled_s.as_ref().is_some_and(|held| held.is_empty());
        let is_busy = gpu.mean_utilization_percent.is_some_and(|p| p > BUSY);
        if let Some((mean, most)) = clock
            && is_free
            && is_busy
            && mean < SLOW * f64::from(most)
        {
            return Some(Err(format!(
                "GPU {} was busy at {mean:.0} MHz of {most}, and nothing held it back",
                gpu.index
            )));
        }
    }
    Some(Ok(format!("{} samples", samples.len())))
}

fn reading_of(card: &GpuInfo, reading: &GpuSample) -> Result<(), String> {
    let most = |limit: Option<u32>| limit.map(|limit| f64::from(limit) * ABOVE);
    for (what, value, limit) in [
        ("MHz", reading.sm_clock_mhz, most(card.sm_clock_max_mhz)),
        (
            "MHz of memory",
            reading.memory_clock_mhz,
            most(card.memory_clock_max_mhz),
        ),
        (
            "W",
            reading.power_watts,
            card.power_limit_watts.map(|limit| limit * POWER_ABOVE),
        ),
        ("degrees", reading.temperature_c, Some(HOTTEST)),
        ("percent busy", reading.utilization_percent, Some(100.0)),
    ] {
        let Some((value, limit)) = value.zip(limit) else {
            continue;
        };
        if !(0.0..=limit).contains(&value) {
            return Err(format!("{value} {what}, and it has at most {limit:.0}"));
        }
    }
    let memory = reading.memory_used_bytes.zip(reading.memory_total_bytes);
    match memory.filter(|(used, total)| used > total) {
        Some((used, total)) => Err(format!("{used} bytes in use of {total}")),
        None => Ok(()),
    }
}
