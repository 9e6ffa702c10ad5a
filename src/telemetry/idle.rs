//! What GPUs draw while nothing runs.

use std::ops::Range;
use std::time::Duration;

use crate::ground::Recorded;

/// Gives each GPU the mean of its power samples in `idle`, a range on the samples' clock.
pub fn note_idle_power(seen: &mut Recorded, idle: Range<Duration>) {
    let idle = idle.start.as_secs_f64()..idle.end.as_secs_f64();
    let inside = |time: &f64| idle.contains(time);
    for (place, gpu) in seen.gpus.iter_mut().enumerate() {
        let samples = seen.samples.iter().filter(|sample| inside(&sample.time));
        let told = samples.filter_map(|sample| sample.gpus.get(place)?.power_watts);
        let (sum, count) = told.fold((0.0, 0_u32), |(sum, count), watts| (sum + watts, count + 1));
        gpu.idle_power_watts = (count > 0).then(|| sum / f64::from(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::{GpuSample, TelemetrySample, WatchedGpu};

    #[test]
    fn only_samples_of_the_pause_count() {
        let sample = |time: f64| TelemetrySample {
            time,
            cpu_percent: 0.0,
            ram_percent: 0.0,
            rss_bytes: 0,
            gpus: vec![GpuSample {
                power_watts: Some(100.0 * time),
                ..GpuSample::default()
            }],
            others: Vec::new(),
        };
        let mut seen = Recorded {
            samples: [0.5, 1.0, 1.5, 2.0, 9.0].map(sample).into(),
            gpus: vec![WatchedGpu::default()],
        };
        note_idle_power(&mut seen, Duration::from_secs(1)..Duration::from_secs(2));
        assert_eq!(seen.gpus[0].idle_power_watts, Some(125.0));
        note_idle_power(&mut seen, Duration::from_secs(3)..Duration::from_secs(4));
        assert_eq!(seen.gpus[0].idle_power_watts, None);
    }
}
