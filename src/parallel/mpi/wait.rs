//! Looking for something again and again, until it is there or has been missed for too long.

use std::time::{Duration, Instant};

/// Looks before others get the core: a few hundred microseconds, longer than ranks of equal work are
/// apart as a rule.
const SPINS: u32 = 2000;
/// After this time, something that may take hours is looked for less often.
const SOON: Duration = Duration::from_millis(50);
/// How often then: commands wait no longer, and the core is free.
const REST: Duration = Duration::from_micros(500);

#[derive(Default)]
pub struct Wait {
    looks: u32,
    since: Option<Instant>,
}

impl Wait {
    /// Passes a moment between two looks at what other ranks do at the same time; gives how long it has
    /// been.
    pub fn pause(&mut self) -> Duration {
        if self.looks < SPINS {
            self.looks += 1;
            std::hint::spin_loop();
            return Duration::ZERO;
        }
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        std::thread::yield_now();
        waited
    }

    /// The same, for what may take any time.
    pub fn rest(&mut self) -> Duration {
        let waited = self.pause();
        if waited > SOON {
            std::thread::sleep(REST);
        }
        waited
    }
}
