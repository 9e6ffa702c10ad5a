//! What the processes of a job have seen, as one recording.

use crate::ground::{GpuSample, ProcessSample, Recorded, TelemetrySample};

/// `own` with what the others saw at the same times, in their order; a GPU of a process that saw nothing tells nothing.
pub fn gathered(mut own: Recorded, others: Vec<Recorded>) -> Recorded {
    for sample in &mut own.samples {
        for other in &others {
            let nearest = nearest(&other.samples, sample.time);
            let nothing = || vec![GpuSample::default(); other.gpus.len()];
            let gpus = nearest.map_or_else(nothing, |seen| seen.gpus.clone());
            sample.gpus.extend(gpus);
            sample.others.push(ProcessSample {
                cpu_percent: nearest.map(|seen| seen.cpu_percent),
                ram_percent: nearest.map(|seen| seen.ram_percent),
                rss_bytes: nearest.map(|seen| seen.rss_bytes),
            });
        }
    }
    own.gpus
        .extend(others.into_iter().flat_map(|other| other.gpus));
    own
}

/// The one of `samples`, in order of time, that is the least from `time`.
fn nearest(samples: &[TelemetrySample], time: f64) -> Option<&TelemetrySample> {
    let behind = samples.partition_point(|sample| sample.time < time);
    let around = samples[behind.saturating_sub(1)..].iter().take(2);
    around.min_by(|a, b| (a.time - time).abs().total_cmp(&(b.time - time).abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::WatchedGpu;

    fn at(time: f64, cpu_percent: f64, watts: &[f64]) -> TelemetrySample {
        let gpu = |&watts: &f64| GpuSample {
            power_watts: Some(watts),
            ..GpuSample::default()
        };
        TelemetrySample {
            time,
            cpu_percent,
            ram_percent: 1.0,
            rss_bytes: 7,
            gpus: watts.iter().map(gpu).collect(),
            others: Vec::new(),
        }
    }

    #[test]
    fn each_sample_has_what_others_saw_at_its_time() {
        let gpus = |count| vec![WatchedGpu::default(); count];
        let own = Recorded {
            samples: vec![at(0.1, 10.0, &[1.0]), at(0.2, 20.0, &[2.0])],
            gpus: gpus(1),
        };
        let other = Recorded {
            samples: vec![at(0.05, 30.0, &[3.0, 4.0]), at(0.16, 40.0, &[5.0, 6.0])],
            gpus: gpus(2),
        };
        let silent = Recorded {
            samples: Vec::new(),
            gpus: gpus(1),
        };
        let all = gathered(own, vec![other, silent]);
        assert_eq!(all.gpus.len(), 4);
        let watts = |sample: &TelemetrySample| {
            let watts = sample.gpus.iter().map(|gpu| gpu.power_watts);
            watts.collect::<Vec<_>>()
        };
        assert_eq!(
            watts(&all.samples[0]),
            [Some(1.0), Some(3.0), Some(4.0), None]
        );
        assert_eq!(
            watts(&all.samples[1]),
            [Some(2.0), Some(5.0), Some(6.0), None]
        );
        let cpu = |sample: &TelemetrySample| {
            let others = sample.others.iter();
            others.map(|other| other.cpu_percent).collect::<Vec<_>>()
        };
        assert_eq!(cpu(&all.samples[1]), [Some(40.0), None]);
    }
}
