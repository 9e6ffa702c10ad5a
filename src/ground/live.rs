//! A run while it goes on: figures that its loop writes after each step and a console reads, without a lock between them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::gpu::GpuSample;
use super::records::StepRecord;

const MICROS: f64 = 1e6;

/// What is known so far. Writing it allocates nothing.
#[derive(Debug, Default)]
pub struct Live {
    running: AtomicU64,
    waiting: AtomicU64,
    kv_blocks_used: AtomicU64,
    kv_blocks_total: AtomicU64,
    output_tokens: AtomicU64,
    /// End of the latest step, microseconds from the run's start.
    now: AtomicU64,
    ttft: Mean,
    tpot: Mean,
    gpus: Mutex<Vec<GpuSample>>,
}

/// Sum and count of times, the sum in microseconds.
#[derive(Debug, Default)]
struct Mean {
    sum: AtomicU64,
    count: AtomicU64,
}

/// One look at a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Look {
    /// Requests.
    pub running: u64,
    pub waiting: u64,
    /// Of the KV blocks, 0 to 1.
    pub kv: Option<f64>,
    /// Output tokens a second so far.
    pub tokens_per_s: Option<f64>,
    /// Mean seconds of those requests that have come so far.
    pub ttft: Option<f64>,
    pub tpot: Option<f64>,
    /// In the order of ranks.
    pub gpus: Vec<GpuSample>,
}

impl Live {
    /// A run begins.
    pub fn begin(&self) {
        for number in [
            &self.running,
            &self.waiting,
            &self.kv_blocks_used,
            &self.kv_blocks_total,
            &self.output_tokens,
            &self.now,
            &self.ttft.sum,
            &self.ttft.count,
            &self.tpot.sum,
            &self.tpot.count,
        ] {
            number.store(0, Relaxed);
        }
        self.see(&[]);
    }

    /// A step has ended; its times are seconds from the run's start.
    pub fn step(&self, step: &StepRecord) {
        self.running.store(step.running as u64, Relaxed);
        self.waiting.store(step.waiting as u64, Relaxed);
        self.kv_blocks_used
            .store(step.kv_blocks_used as u64, Relaxed);
        self.kv_blocks_total
            .store(step.kv_blocks_total as u64, Relaxed);
        self.output_tokens
            .fetch_add(step.output_tokens as u64, Relaxed);
        self.now.store((step.end * MICROS) as u64, Relaxed);
    }

    /// A request has its first token, so many seconds after its arrival.
    pub fn first_token(&self, ttft: Option<f64>) {
        self.ttft.add(ttft);
    }

    /// A request has ended, with so many seconds from token to token.
    pub fn finished(&self, tpot: Option<f64>) {
        self.tpot.add(tpot);
    }

    /// What GPUs told.
    pub fn see(&self, gpus: &[GpuSample]) {
        let mut seen = self.gpus.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clear();
        seen.extend_from_slice(gpus);
    }

    pub fn look(&self) -> Look {
        let load = |number: &AtomicU64| number.load(Relaxed);
        let part = |a: &AtomicU64, b: &AtomicU64| {
            let (a, b) = (load(a), load(b));
            (b > 0).then(|| a as f64 / b as f64)
        };
        Look {
            running: load(&self.running),
            waiting: load(&self.waiting),
            kv: part(&self.kv_blocks_used, &self.kv_blocks_total),
            tokens_per_s: part(&self.output_tokens, &self.now).map(|rate| rate * MICROS),
            ttft: part(&self.ttft.sum, &self.ttft.count).map(|sum| sum / MICROS),
            tpot: part(&self.tpot.sum, &self.tpot.count).map(|sum| sum / MICROS),
            gpus: self
                .gpus
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

impl Mean {
    fn add(&self, seconds: Option<f64>) {
        if let Some(seconds) = seconds {
            self.sum.fetch_add((seconds * MICROS) as u64, Relaxed);
            self.count.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_tells_what_was_written() {
        let live = Live::default();
        assert_eq!(live.look(), Look::default());
        let step = StepRecord {
            end: 2.0,
            running: 3,
            waiting: 1,
            output_tokens: 8,
            kv_blocks_used: 1,
            kv_blocks_total: 4,
            ..StepRecord::default()
        };
        live.step(&step);
        live.step(&step);
        live.first_token(Some(0.25));
        live.first_token(Some(0.75));
        live.finished(None);
        let look = live.look();
        assert_eq!((look.running, look.waiting, look.kv), (3, 1, Some(0.25)));
        assert_eq!(
            (look.tokens_per_s, look.ttft, look.tpot),
            (Some(8.0), Some(0.5), None)
        );
        live.begin();
        assert_eq!(live.look(), Look::default());
    }
}
