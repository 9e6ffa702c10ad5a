//! Samples of GPUs -> what each one did between first arrival and last token, and all of them together.

use std::collections::BTreeMap;

use super::quantile::{Sample, ratio};
use super::timing::Window;
use super::{MeasureInput, NotObserved, reason};
use crate::ground::results::{GpuMetrics, Metrics};
use crate::ground::{GpuCounter, GpuSample, TelemetrySample, WatchedGpu};

const PERCENT: f64 = 100.0;
/// NVML's `nvmlClocksEventReasons` but `GpuIdle`: nothing holds back a clock that nobody needs.
pub const THROTTLE_REASONS: [(u64, &str); 8] = [
    (0x2, "applications_clocks_setting"),
    (0x4, "sw_power_cap"),
    (0x8, "hw_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "sw_thermal_slowdown"),
    (0x40, "hw_thermal_slowdown"),
    (0x80, "hw_power_brake_slowdown"),
    (0x100, "display_clock_setting"),
];

/// What tells a GPU's energy.
pub(super) const BY_COUNTER: &str = "counter";
pub(super) const BY_POWER: &str = "power";

/// One entry for each GPU that was watched.
pub(crate) fn each(input: &MeasureInput, window: Option<Window>) -> Vec<GpuMetrics> {
    let inside = |sample: &&TelemetrySample| window.is_some_and(|w| w.contains(sample.time));
    let inside: Vec<&TelemetrySample> = input.telemetry.iter().filter(inside).collect();
    let watched = input.watched.iter().enumerate();
    let metrics = watched.map(|(at, watched)| {
        let samples = inside
            .iter()
            .filter_map(|sample| Some((sample.time, *sample.gpus.get(at)?)));
        let seen = Seen {
            watched,
            samples: samples.collect(),
            nulls: NotObserved::default(),
        };
        seen.metrics(window)
    });
    metrics.collect()
}

/// The report's means, over all GPUs: only of what every one of them told.
pub(crate) fn means(
    metrics: &mut Metrics,
    input: &MeasureInput,
    gpus: &[GpuMetrics],
    nulls: &mut NotObserved,
) {
    let taking_part = (!input.gpus.is_empty()).then(|| input.gpus.to_vec());
    metrics.gpu_index = nulls.note("gpu_index", taking_part, reason::NO_GPU);
    let otherwise = match input.gpus {
        [] => reason::NO_GPU,
        _ => reason::NO_GPU_TELEMETRY,
    };
    let mut mean = |name, own, value: fn(&GpuMetrics) -> Option<f64>| {
        let mean = all(gpus, value).map(|sample| sample.mean());
        nulls.note(name, mean, &why(gpus, own, otherwise))
    };
    metrics.avg_gpu_mem_percent = mean("avg_gpu_mem_percent", "mean_memory_percent", |g| {
        g.mean_memory_percent
    });
    metrics.avg_gpu_power_watts = mean("avg_gpu_power_watts", "mean_power_watts", |g| {
        g.mean_power_watts
    });
    metrics.avg_gpu_temp_c = mean("avg_gpu_temp_C", "mean_temperature_c", |g| {
        g.mean_temperature_c
    });
    metrics.avg_gpu_clock_gr_mhz = mean("avg_gpu_clock_gr_mhz", "mean_sm_clock_mhz", |g| {
        g.mean_sm_clock_mhz
    });
    metrics.avg_gpu_clock_mem_mhz = mean("avg_gpu_clock_mem_mhz", "mean_memory_clock_mhz", |g| {
        g.mean_memory_clock_mhz
    });
}

/// The value of each GPU, where every one has it.
pub(super) fn all(gpus: &[GpuMetrics], value: fn(&GpuMetrics) -> Option<f64>) -> Option<Sample> {
    let values: Option<Vec<f64>> = gpus.iter().map(value).collect();
    Sample::new(values?)
}

/// Why not every GPU has its metric `own`.
pub(super) fn why(gpus: &[GpuMetrics], own: &str, otherwise: &str) -> String {
    let lacking = gpus.iter().find_map(|gpu| {
        let reason = gpu.not_observed.get(own)?;
        Some(format!("GPU {}: {reason}", gpu.index))
    });
    lacking.unwrap_or_else(|| otherwise.to_owned())
}

/// One GPU in the window of a run.
struct Seen<'a> {
    watched: &'a WatchedGpu,
    /// With their times.
    samples: Vec<(f64, GpuSample)>,
    nulls: NotObserved,
}

impl Seen<'_> {
    fn metrics(mut self, window: Option<Window>) -> GpuMetrics {
        use GpuCounter as C;
        let memory = |s: &GpuSample| Some(s.memory_used_bytes? as f64);
        let share = |s: &GpuSample| {
            let percent = PERCENT * s.memory_used_bytes? as f64;
            ratio(percent, s.memory_total_bytes? as f64)
        };
        let gpu = &self.watched.gpu;
        let named = GpuMetrics {
            index: gpu.index,
            name: gpu.name.clone(),
            pci_bus_id: gpu.pci_bus_id.clone(),
            host: self.watched.host.clone(),
            ..GpuMetrics::default()
        };
        let mut of = |name, counter, value: fn(&GpuSample) -> Option<f64>, statistic| {
            self.statistic(name, counter, value, statistic)
        };
        let (mean, max): (Statistic, Statistic) = (Sample::mean, Sample::max);
        let measured = GpuMetrics {
            mean_memory_percent: of("mean_memory_percent", C::Memory, share, mean),
            peak_memory_bytes: of("peak_memory_bytes", C::Memory, memory, max)
                .map(|bytes| bytes as u64),
            mean_power_watts: of("mean_power_watts", C::Power, |s| s.power_watts, mean),
            peak_power_watts: of("peak_power_watts", C::Power, |s| s.power_watts, max),
            mean_temperature_c: of(
                "mean_temperature_c",
                C::Temperature,
                |s| s.temperature_c,
                mean,
            ),
            max_temperature_c: of(
                "max_temperature_c",
                C::Temperature,
                |s| s.temperature_c,
                max,
            ),
            mean_sm_clock_mhz: of("mean_sm_clock_mhz", C::SmClock, |s| s.sm_clock_mhz, mean),
            mean_memory_clock_mhz: of(
                "mean_memory_clock_mhz",
                C::MemoryClock,
                |s| s.memory_clock_mhz,
                mean,
            ),
            mean_utilization_percent: of(
                "mean_utilization_percent",
                C::Utilization,
                |s| s.utilization_percent,
                mean,
            ),
            ..named
        };
        let pcie_generation = self.most("pcie_generation", C::PcieLink, |s| s.pcie_generation);
        let pcie_width = self.most("pcie_width", C::PcieLink, |s| s.pcie_width);
        let other_processes = self.most("other_processes", C::Processes, |s| s.other_processes);
        let (energy, throttled_s) = (self.energy(window), self.throttled(window));
        let idle = self.watched.idle_power_watts;
        let idle_power_watts = self.note("idle_power_watts", C::Power, idle, reason::NO_IDLE);
        GpuMetrics {
            pcie_generation,
            pcie_width,
            other_processes,
            energy_j: energy.map(|(joules, _)| joules),
            energy_by: energy.map(|(_, by)| by.to_owned()),
            idle_power_watts,
            throttled_s,
            not_observed: self.nulls.0,
            ..measured
        }
    }

    fn note<T>(
        &mut self,
        name: &str,
        counter: GpuCounter,
        value: Option<T>,
        otherwise: &str,
    ) -> Option<T> {
        let refused = self.watched.refused.get(&counter);
        self.nulls
            .note(name, value, refused.map_or(otherwise, String::as_str))
    }

    fn statistic(
        &mut self,
        name: &str,
        counter: GpuCounter,
        value: fn(&GpuSample) -> Option<f64>,
        statistic: Statistic,
    ) -> Option<f64> {
        let told = self.samples.iter().filter_map(|(_, sample)| value(sample));
        let found = Sample::new(told.collect()).map(|sample| statistic(&sample));
        self.note(name, counter, found, reason::NO_SAMPLE)
    }

    /// The highest of what is counted.
    fn most(
        &mut self,
        name: &str,
        counter: GpuCounter,
        value: fn(&GpuSample) -> Option<u32>,
    ) -> Option<u32> {
        let told = self.samples.iter().filter_map(|(_, sample)| value(sample));
        self.note(name, counter, told.max(), reason::NO_SAMPLE)
    }

    /// Mean power over the samples, by the counter or else by the power samples, through the whole window: the samples miss
    /// its edges.
    fn energy(&mut self, window: Option<Window>) -> Option<(f64, &'static str)> {
        let joules = |mean_watts: Option<f64>| Some(mean_watts? * window?.length());
        let counted = joules(self.counted_watts()).map(|joules| (joules, BY_COUNTER));
        let found = counted.or_else(|| Some((joules(self.integrated_watts())?, BY_POWER)));
        self.note(
            "energy_by",
            GpuCounter::Energy,
            found,
            reason::NO_ENERGY_RISE,
        );
        self.note(
            "energy_j",
            GpuCounter::Energy,
            found,
            reason::NO_ENERGY_RISE,
        )
    }

    /// By the card's counter.
    fn counted_watts(&self) -> Option<f64> {
        let told = self.samples.iter();
        let mut told = told.filter_map(|(time, sample)| Some((*time, sample.energy_j?)));
        let (start, before) = told.next()?;
        let (end, after) = told.next_back()?;
        ratio(after - before, end - start)
    }

    /// By the trapezoids between power samples.
    fn integrated_watts(&self) -> Option<f64> {
        let told = self.samples.iter();
        let told = told.filter_map(|(time, sample)| Some((*time, sample.power_watts?)));
        let told: Vec<(f64, f64)> = told.collect();
        let pairs = told.windows(2);
        let joules = pairs.map(|two| f64::midpoint(two[0].1, two[1].1) * (two[1].0 - two[0].0));
        ratio(joules.sum(), told.last()?.0 - told.first()?.0)
    }

    /// Each sample stands for the time since the one before it.
    fn throttled(&mut self, window: Option<Window>) -> Option<BTreeMap<String, f64>> {
        let told = self.samples.iter();
        let told = told.filter_map(|(time, sample)| Some((*time, sample.throttle_bits?)));
        let told: Vec<(f64, u64)> = told.collect();
        let mut seconds = BTreeMap::new();
        let mut before = window.map_or(0.0, |window| window.start);
        for (time, bits) in &told {
            for (_, name) in THROTTLE_REASONS.iter().filter(|(bit, _)| bits & bit != 0) {
                *seconds.entry((*name).to_owned()).or_insert(0.0) += time - before;
            }
            before = *time;
        }
        let seen = (!told.is_empty()).then_some(seconds);
        self.note("throttled_s", GpuCounter::Throttle, seen, reason::NO_SAMPLE)
    }
}

type Statistic = fn(&Sample) -> f64;
