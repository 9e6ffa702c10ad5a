//! What the machine and its GPUs were seen to do, no finer than a screen shows.

use serde::Serialize;

use super::short;
use crate::ground::{GpuSample, TelemetrySample};
use crate::metrics::THROTTLE_REASONS;

/// Times on the page; more samples are taken together, so many at a time.
const MOST: usize = 600;

#[derive(Debug, Default, Serialize)]
pub struct Telemetry {
    /// Seconds from the run's start.
    time: Vec<f64>,
    cpu_percent: Vec<f64>,
    rss_bytes: Vec<f64>,
    /// In the order of ranks.
    gpus: Vec<Gpu>,
}

#[derive(Debug, Default, Serialize)]
struct Gpu {
    power_watts: Vec<Option<f64>>,
    sm_clock_mhz: Vec<Option<f64>>,
    memory_clock_mhz: Vec<Option<f64>>,
    temperature_c: Vec<Option<f64>>,
    utilization_percent: Vec<Option<f64>>,
    /// When clocks were held back: from, to, and NVML's names of the reasons.
    throttled: Vec<(f64, f64, Vec<&'static str>)>,
}

impl Telemetry {
    pub fn of(samples: &[TelemetrySample]) -> Self {
        let together = samples.len().div_ceil(MOST).max(1);
        let mut seen = Self::default();
        let gpus = samples
            .iter()
            .map(|sample| sample.gpus.len())
            .max()
            .unwrap_or(0);
        for place in 0..gpus {
            seen.gpus.push(Gpu {
                throttled: throttled(samples, place),
                ..Gpu::default()
            });
        }
        for group in samples.chunks(together) {
            let mean =
                |of: &dyn Fn(&TelemetrySample) -> Option<f64>| mean(group.iter().filter_map(of));
            seen.time.extend(mean(&|s| Some(s.time)));
            seen.cpu_percent.extend(mean(&|s| Some(s.cpu_percent)));
            seen.rss_bytes.extend(mean(&|s| Some(s.rss_bytes as f64)));
            for (place, gpu) in seen.gpus.iter_mut().enumerate() {
                let of =
                    |value: fn(&GpuSample) -> Option<f64>| mean(&|s| value(s.gpus.get(place)?));
                gpu.power_watts.push(of(|s| s.power_watts));
                gpu.sm_clock_mhz.push(of(|s| s.sm_clock_mhz));
                gpu.memory_clock_mhz.push(of(|s| s.memory_clock_mhz));
                gpu.temperature_c.push(of(|s| s.temperature_c));
                gpu.utilization_percent.push(of(|s| s.utilization_percent));
            }
        }
        seen
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| short(sum / f64::from(count)))
}

/// Each sample stands for the time since the one before it.
fn throttled(samples: &[TelemetrySample], place: usize) -> Vec<(f64, f64, Vec<&'static str>)> {
    let mut bands: Vec<(f64, f64, Vec<&'static str>)> = Vec::new();
    let mut before = samples.first().map_or(0.0, |sample| sample.time);
    for sample in samples {
        let bits = sample
            .gpus
            .get(place)
            .and_then(|gpu| gpu.throttle_bits)
            .unwrap_or(0);
        let reasons = THROTTLE_REASONS.iter().filter(|(bit, _)| bits & bit != 0);
        let reasons: Vec<&str> = reasons.map(|(_, name)| *name).collect();
        match bands.last_mut() {
            _ if reasons.is_empty() => {}
            Some((_, end, known)) if *end == before && *known == reasons => *end = sample.time,
            _ => bands.push((before, sample.time, reasons)),
        }
        before = sample.time;
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(time: f64, throttle_bits: u64) -> TelemetrySample {
        TelemetrySample {
            time,
            cpu_percent: 50.0,
            ram_percent: 1.0,
            rss_bytes: 1,
            gpus: vec![GpuSample {
                power_watts: Some(time),
                throttle_bits: Some(throttle_bits),
                ..GpuSample::default()
            }],
            others: Vec::new(),
        }
    }

    #[test]
    fn bands_last_as_long_as_their_reasons() {
        let samples = [0, 4, 4, 0, 0x24, 1].iter().enumerate();
        let samples: Vec<_> = samples.map(|(at, bits)| sample(at as f64, *bits)).collect();
        let bands = throttled(&samples, 0);
        assert_eq!(bands.len(), 2, "{bands:?}");
        assert_eq!(bands[0], (0.0, 2.0, vec!["sw_power_cap"]));
        assert_eq!(
            bands[1],
            (3.0, 4.0, vec!["sw_power_cap", "sw_thermal_slowdown"])
        );
    }

    #[test]
    fn many_samples_become_means() {
        let samples: Vec<_> = (0..1300).map(|at| sample(f64::from(at), 0)).collect();
        let seen = Telemetry::of(&samples);
        assert_eq!(seen.time.len(), 434);
        assert_eq!(seen.gpus[0].power_watts[..2], [Some(1.0), Some(4.0)]);
        assert_eq!(seen.gpus[0].temperature_c[0], None);
    }
}
