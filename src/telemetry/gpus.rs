//! What stands between the sampler and the GPUs, so that it samples them with or without NVML.

use crate::ground::{GpuIdentity, GpuSample, Refused};

/// Reads GPUs, however that is done.
pub trait GpuProbe: Send + Sync {
    /// The GPUs, in the order of ranks.
    fn gpus(&self) -> Vec<GpuIdentity>;

    /// Reads GPU number `gpu` of [`GpuProbe::gpus`]; the reason of a refused counter goes into `refused`, once.
    fn sample(&self, gpu: usize, refused: &mut Refused) -> GpuSample;
}

/// Two samples as one: means of what goes up and down, the larger memory, the later energy, any throttling.
pub(super) fn merged(first: &GpuSample, last: &GpuSample) -> GpuSample {
    let mean = |value: fn(&GpuSample) -> Option<f64>| match (value(first), value(last)) {
        (Some(a), Some(b)) => Some(f64::midpoint(a, b)),
        (a, b) => b.or(a),
    };
    GpuSample {
        memory_used_bytes: first.memory_used_bytes.max(last.memory_used_bytes),
        memory_total_bytes: last.memory_total_bytes.or(first.memory_total_bytes),
        power_watts: mean(|s| s.power_watts),
        temperature_c: mean(|s| s.temperature_c),
        sm_clock_mhz: mean(|s| s.sm_clock_mhz),
        memory_clock_mhz: mean(|s| s.memory_clock_mhz),
        utilization_percent: mean(|s| s.utilization_percent),
        energy_j: last.energy_j.or(first.energy_j),
        throttle_bits: match (first.throttle_bits, last.throttle_bits) {
            (Some(a), Some(b)) => Some(a | b),
            (a, b) => b.or(a),
        },
        pcie_generation: first.pcie_generation.max(last.pcie_generation),
        pcie_width: first.pcie_width.max(last.pcie_width),
        other_processes: first.other_processes.max(last.other_processes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_means_peaks_and_reasons() {
        let sample = |bytes, watts, joules, bits| GpuSample {
            memory_used_bytes: Some(bytes),
            power_watts: watts,
            energy_j: Some(joules),
            throttle_bits: Some(bits),
            ..GpuSample::default()
        };
        let pair = merged(
            &sample(9, Some(100.0), 5.0, 0b01),
            &sample(7, Some(300.0), 6.0, 0b10),
        );
        assert_eq!(pair, sample(9, Some(200.0), 6.0, 0b11));
        // A reading that is there once is kept.
        let half = merged(&sample(9, None, 5.0, 0), &sample(7, Some(300.0), 6.0, 0));
        assert_eq!(half.power_watts, Some(300.0));
        assert_eq!(half.temperature_c, None);
    }
}
