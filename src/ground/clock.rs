//! The only place that tells time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time since the clock's own start. Monotonic. Events and samples of one run share one clock.
pub trait Clock: Send + Sync {
    fn now(&self) -> Duration;

    /// Returns once `now()` has reached `until`. A virtual clock jumps, a wall clock sleeps.
    fn sleep_until(&self, until: Duration);
}

/// Host monotonic time.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    start: Instant,
}

impl WallClock {
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for WallClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep_until(&self, until: Duration) {
        if let Some(left) = until.checked_sub(self.now()) {
            std::thread::sleep(left);
        }
    }
}

/// Time that passes only when it is told to: by a simulated device after each step, by whoever waits.
#[derive(Debug, Default)]
pub struct VirtualClock {
    nanoseconds: AtomicU64,
}

impl VirtualClock {
    pub fn advance(&self, by: Duration) {
        self.nanoseconds
            .fetch_add(nanoseconds(by), Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, until: Duration) {
        self.nanoseconds
            .fetch_max(nanoseconds(until), Ordering::Relaxed);
    }
}

/// 584 years fit.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
