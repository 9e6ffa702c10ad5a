//! A run as it goes on, in words; and in a pipe or a file, where no bar is, a line of them now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::output;
use crate::ground::{Live, Look};
use crate::report::number::number;

const EVERY: Duration = Duration::from_secs(10);
const MS: f64 = 1e3;
const PERCENT: f64 = 100.0;

/// Tells until it is dropped.
pub struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    done: Arc<AtomicU64>,
}

impl Ticker {
    /// Of the load `name` with `total` requests. `None`: the system refused a thread, and nothing will be told.
    pub fn start(name: String, total: u64, live: Arc<Live>) -> Option<Self> {
        let (stop, stopped) = mpsc::channel();
        let done = Arc::<AtomicU64>::default();
        let seen = done.clone();
        let tell = move || {
            let start = Instant::now();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let done = seen.load(Ordering::Relaxed);
                let so_far = progress(done, total, start.elapsed());
                output::note(&format!("{name}: {so_far}, {}", words(&live.look())));
            }
        };
        let thread = thread::Builder::new().name("ticker".to_owned()).spawn(tell);
        Some(Self {
            stop: Some(stop),
            thread: Some(thread.ok()?),
            done,
        })
    }

    pub fn advance(&self, requests: u64) {
        self.done.fetch_add(requests, Ordering::Relaxed);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // A closed channel is the signal.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A run so far, in a line.
pub fn words(look: &Look) -> String {
    let mut parts = vec![
        format!("running {}", look.running),
        format!("waiting {}", look.waiting),
    ];
    let mut say = |what: &str, value: Option<f64>, unit: &str| {
        parts.extend(value.map(|value| format!("{what}{}{unit}", number(value))));
    };
    say("", look.tokens_per_s, " tok/s");
    say("TTFT ", look.ttft.map(|seconds| seconds * MS), " ms");
    say("TPOT ", look.tpot.map(|seconds| seconds * MS), " ms");
    say("KV ", look.kv.map(|part| part * PERCENT), " %");
    for (place, gpu) in look.gpus.iter().enumerate() {
        let figures = [
            (gpu.power_watts, "W"),
            (gpu.temperature_c, "C"),
            (gpu.utilization_percent, "% busy"),
        ];
        let figures = figures.into_iter();
        let told = figures.filter_map(|(value, unit)| Some(format!("{:.0} {unit}", value?)));
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            parts.push(format!("GPU {place} {}", told.join(" ")));
        }
    }
    parts.join(", ")
}

/// Requests that have ended, and how long the others will take at their pace.
fn progress(done: u64, total: u64, elapsed: Duration) -> String {
    let spent = elapsed.as_secs();
    if total == 0 {
        return format!("{done} requests in {spent} s");
    }
    let left = match done {
        0 => String::new(),
        done => {
            let left = elapsed.as_secs_f64() * total.saturating_sub(done) as f64 / done as f64;
            format!(", {left:.0} s left")
        }
    };
    format!("{done}/{total} requests in {spent} s{left}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::GpuSample;

    #[test]
    fn time_left_is_known_once_a_request_has_ended() {
        let after = |done| progress(done, 40, Duration::from_secs(20));
        assert_eq!(after(0), "0/40 requests in 20 s");
        assert_eq!(after(10), "10/40 requests in 20 s, 60 s left");
        assert_eq!(after(40), "40/40 requests in 20 s, 0 s left");
        let endless = progress(7, 0, Duration::from_secs(20));
        assert_eq!(endless, "7 requests in 20 s");
    }

    #[test]
    fn a_line_tells_what_is_known() {
        assert_eq!(words(&Look::default()), "running 0, waiting 0");
        let look = Look {
            running: 8,
            waiting: 2,
            kv: Some(0.125),
            tokens_per_s: Some(55.36),
            ttft: Some(1.782),
            tpot: Some(0.06428),
            gpus: vec![GpuSample {
                power_watts: Some(320.4),
                temperature_c: Some(65.0),
                ..GpuSample::default()
            }],
        };
        let line = "running 8, waiting 2, 55.36 tok/s, TTFT 1782 ms, TPOT 64.28 ms, KV 12.50 %, GPU 0 320 W 65 C";
        assert_eq!(words(&look), line);
    }
}
