//! The only place that tells time.

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
