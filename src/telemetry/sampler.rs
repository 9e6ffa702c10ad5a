//! CPU, memory and resident size of this process, and its GPUs, sampled by a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::gpus::{GpuProbe, merged};
use crate::ground::{Clock, GpuSample, Recorded, TelemetrySample, WatchedGpu};

/// 10 Hz.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// The first sample follows the start by this much: CPU time needs an interval to be measured over.
const FIRST_INTERVAL: Duration = Duration::from_millis(20);
/// An hour at 10 Hz. A longer run keeps every second sample and halves its rate.
const MOST_SAMPLES: usize = 36_000;
const PERCENT: f64 = 100.0;
/// The system counts CPU time in milliseconds here.
const CPU_UNIT: f64 = 1e-3;

/// Samples until it is stopped or dropped.
#[derive(Debug)]
pub struct Sampler {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<Recorded>>,
}

impl Sampler {
    /// Starts sampling every `interval`, stamped with `clock` (the run's, so that samples and
    /// events share one time; a virtual clock has nothing to sample), with the GPUs of `probe`. `tell` sees each
    /// sample as it comes.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(
        clock: Arc<dyn Clock>,
        interval: Duration,
        probe: Option<Arc<dyn GpuProbe>>,
        tell: impl Fn(&TelemetrySample) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || {
                sample_until(&stopped, clock.as_ref(), interval, Gpus::of(probe), tell)
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Takes a last sample and returns all.
    pub fn stop(mut self) -> Recorded {
        self.join()
    }

    fn join(&mut self) -> Recorded {
        // A closed channel is the signal.
        self.stop = None;
        let thread = self.thread.take();
        thread.and_then(|t| t.join().ok()).unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.join();
    }
}

/// The samples with times in seconds since `origin` of their clock, as a run's records have them.
pub fn since(mut samples: Vec<TelemetrySample>, origin: Duration) -> Vec<TelemetrySample> {
    for sample in &mut samples {
        sample.time -= origin.as_secs_f64();
    }
    samples
}

/// Largest resident size seen, bytes.
pub fn peak_rss(samples: &[TelemetrySample]) -> Option<u64> {
    samples.iter().map(|sample| sample.rss_bytes).max()
}

fn sample_until(
    stopped: &mpsc::Receiver<()>,
    clock: &dyn Clock,
    mut interval: Duration,
    mut gpus: Gpus,
    tell: impl Fn(&TelemetrySample),
) -> Recorded {
    let mut samples = Vec::new();
    let Some(mut probe) = Probe::new(clock) else {
        return Recorded {
            samples,
            gpus: gpus.watched,
        };
    };
    let mut wait = FIRST_INTERVAL.min(interval);
    loop {
        let timeout = stopped.recv_timeout(wait);
        if let Some(mut sample) = probe.sample(clock) {
            sample.gpus = gpus.sample();
            tell(&sample);
            samples.push(sample);
        }
        if timeout != Err(RecvTimeoutError::Timeout) {
            return Recorded {
                samples,
                gpus: gpus.watched,
            };
        }
        wait = interval;
        if samples.len() >= MOST_SAMPLES {
            halve(&mut samples);
            interval *= 2;
        }
    }
}

/// Merges pairs: the later time, the mean load, the larger size.
fn halve(samples: &mut Vec<TelemetrySample>) {
    *samples = samples
        .chunks(2)
        .map(|pair| {
            let (first, last) = (&pair[0], &pair[pair.len() - 1]);
            TelemetrySample {
                time: last.time,
                cpu_percent: f64::midpoint(first.cpu_percent, last.cpu_percent),
                ram_percent: f64::midpoint(first.ram_percent, last.ram_percent),
                rss_bytes: first.rss_bytes.max(last.rss_bytes),
                gpus: first
                    .gpus
                    .iter()
                    .zip(&last.gpus)
                    .map(|(first, last)| merged(first, last))
                    .collect(),
                others: Vec::new(),
            }
        })
        .collect();
}

/// The GPUs that are watched, and what they have refused so far.
struct Gpus {
    probe: Option<Arc<dyn GpuProbe>>,
    watched: Vec<WatchedGpu>,
}

impl Gpus {
    fn of(probe: Option<Arc<dyn GpuProbe>>) -> Self {
        let gpus = probe.iter().flat_map(|probe| probe.gpus());
        let watched = gpus.map(|gpu| WatchedGpu {
            gpu,
            ..WatchedGpu::default()
        });
        Self {
            watched: watched.collect(),
            probe,
        }
    }

    fn sample(&mut self) -> Vec<GpuSample> {
        let Some(probe) = &self.probe else {
            return Vec::new();
        };
        let gpus = self.watched.iter_mut().enumerate();
        gpus.map(|(index, gpu)| probe.sample(index, &mut gpu.refused))
            .collect()
    }
}

/// Reads the system, and remembers what CPU time is measured from.
struct Probe {
    system: System,
    pid: Pid,
    cpu_seconds: f64,
    time: Duration,
}

impl Probe {
    fn new(clock: &dyn Clock) -> Option<Self> {
        let mut probe = Self {
            system: System::new().ok()?,
            pid: sysinfo::get_current_pid().ok()?,
            cpu_seconds: 0.0,
            time: clock.now(),
        };
        probe.cpu_seconds = probe.refresh()?.0;
        Some(probe)
    }

    /// CPU seconds of this process so far, and its resident bytes.
    fn refresh(&mut self) -> Option<(f64, u64)> {
        let memory = MemoryRefreshKind::nothing().with_ram();
        self.system.refresh_memory_specifics(memory);
        self.system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[self.pid]),
            false,
            ProcessRefreshKind::nothing()
                .with_cpu()
                .with_memory()
                .without_tasks(),
        );
        let process = self.system.process(self.pid)?;
        let cpu = process.accumulated_cpu_time() as f64 * CPU_UNIT;
        Some((cpu, process.memory()))
    }

    /// `None` when no time has passed or the system does not answer.
    fn sample(&mut self, clock: &dyn Clock) -> Option<TelemetrySample> {
        let (cpu_seconds, rss_bytes) = self.refresh()?;
        let time = clock.now();
        let elapsed = time.checked_sub(self.time).filter(|d| !d.is_zero())?;
        let busy = (cpu_seconds - self.cpu_seconds).max(0.0);
        self.cpu_seconds = cpu_seconds;
        self.time = time;
        let (used, total) = (self.system.used_memory(), self.system.total_memory());
        Some(TelemetrySample {
            time: time.as_secs_f64(),
            cpu_percent: PERCENT * busy / elapsed.as_secs_f64(),
            ram_percent: PERCENT * used as f64 / (total as f64).max(1.0),
            rss_bytes,
            gpus: Vec::new(),
            others: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::{GpuCounter, GpuIdentity, Refused, WallClock};

    fn at(time: f64, load: f64, rss_bytes: u64) -> TelemetrySample {
        TelemetrySample {
            time,
            cpu_percent: load,
            ram_percent: load,
            rss_bytes,
            gpus: Vec::new(),
            others: Vec::new(),
        }
    }

    #[test]
    fn halving_keeps_times_means_and_peaks() {
        let mut samples = vec![at(1.0, 10.0, 7), at(2.0, 30.0, 5), at(3.0, 50.0, 6)];
        halve(&mut samples);
        assert_eq!(samples, [at(2.0, 20.0, 7), at(3.0, 50.0, 6)]);
        assert_eq!(peak_rss(&samples), Some(7));
        let samples = since(samples, Duration::from_millis(2500));
        assert_eq!([samples[0].time, samples[1].time], [-0.5, 0.5]);
    }

    #[test]
    fn samples_see_this_process_work() {
        let clock = Arc::new(WallClock::start());
        let sampler =
            Sampler::start(clock.clone(), Duration::from_millis(20), None, |_| {}).unwrap();
        let mut x = 1.0_f64;
        while clock.now() < Duration::from_millis(300) {
            x = x.sqrt() + 1.0;
        }
        let Recorded { samples, gpus } = sampler.stop();
        assert!(gpus.is_empty() && samples[0].gpus.is_empty());
        assert!(x > 0.0 && samples.len() > 2, "{samples:?}");
        assert!(samples.is_sorted_by(|a, b| a.time < b.time));
        assert!(samples.iter().any(|s| s.cpu_percent > 0.0));
        assert!(samples.iter().all(|s| s.rss_bytes > 0));
        assert!(
            samples
                .iter()
                .all(|s| (0.0..=PERCENT).contains(&s.ram_percent))
        );
    }

    #[test]
    fn a_short_run_is_stopped_at_once_and_has_a_sample() {
        let clock = Arc::new(WallClock::start());
        let sampler = Sampler::start(clock.clone(), Duration::from_secs(60), None, |_| {}).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(!sampler.stop().samples.is_empty());
        assert!(clock.now() < Duration::from_secs(10));
    }

    /// Two GPUs, of which the second does not tell its power.
    struct Script;

    impl GpuProbe for Script {
        fn gpus(&self) -> Vec<GpuIdentity> {
            let gpu = |index| GpuIdentity {
                index,
                ..GpuIdentity::default()
            };
            vec![gpu(3), gpu(1)]
        }

        fn sample(&self, gpu: usize, refused: &mut Refused) -> GpuSample {
            let power_watts = [Some(250.0), None][gpu];
            if power_watts.is_none() {
                refused.insert(GpuCounter::Power, "not told".to_owned());
            }
            GpuSample {
                power_watts,
                ..GpuSample::default()
            }
        }
    }

    #[test]
    fn gpus_are_read_with_the_machine_and_their_refusals_kept() {
        let clock = Arc::new(WallClock::start());
        let sampler = Sampler::start(clock, INTERVAL, Some(Arc::new(Script)), |_| {}).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let Recorded { mut samples, gpus } = sampler.stop();
        assert_eq!(gpus.iter().map(|g| g.gpu.index).collect::<Vec<_>>(), [3, 1]);
        assert!(gpus[0].refused.is_empty());
        assert_eq!(gpus[1].refused[&GpuCounter::Power], "not told");
        halve(&mut samples);
        for sample in samples {
            let watts: Vec<_> = sample.gpus.iter().map(|gpu| gpu.power_watts).collect();
            assert_eq!(watts, [Some(250.0), None]);
        }
    }
}
