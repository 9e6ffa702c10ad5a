//! The only place that tells time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the clock's own start. Monotonic. Events and samples of one run share one clock.
pub trait Clock: Send + Sync {
    fn now(&self) -> Duration;

    /// Returns once `now()` has reached `until`. A virtual clock jumps, a wall clock sleeps.
    fn sleep_until(&self, until: Duration);

    /// What the system's clocks say; `None` of a clock that is not the system's.
    fn reading(&self) -> Option<ClockReading> {
        None
    }
}

/// One moment by several clocks, each from a start of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockReading {
    monotonic: f64,
    boot: Option<f64>,
    calendar: f64,
}

impl ClockReading {
    pub fn since(&self, earlier: &Self) -> ClockSpan {
        let boot = self.boot.zip(earlier.boot);
        ClockSpan {
            monotonic: self.monotonic - earlier.monotonic,
            boot: boot.map(|(now, then)| now - then),
            calendar: self.calendar - earlier.calendar,
        }
    }
}

/// How far each clock went between two moments, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockSpan {
    /// The clock of all events. It stands while the machine is suspended.
    pub monotonic: f64,
    /// Goes on then, to 10 ms; `None` where the system does not tell.
    pub boot: Option<f64>,
    /// The time of day, which can be set.
    pub calendar: f64,
}

/// Time since the machine started, suspended or not.
fn since_boot() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    text.split_whitespace().next()?.parse().ok()
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

    fn reading(&self) -> Option<ClockReading> {
        let calendar = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(ClockReading {
            monotonic: self.now().as_secs_f64(),
            boot: since_boot(),
            calendar: calendar.as_secs_f64(),
        })
    }
}

/// Time that passes only when it is told to: by a simulated device after each step, by whoever waits.
#[derive(Debug, Default)]
pub struct VirtualClock {
    nanoseconds: AtomicU64,
}

impl VirtualClock {
    pub fn advance(&self, by: Duration) {
        let add = |now: u64| Some(now.saturating_add(nanoseconds(by)));
        // It always has a next value.
        let _ = self
            .nanoseconds
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
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

/// The longest time that a virtual clock tells, so far from the longest `Duration` that sums do not reach it.
const LONGEST: Duration = Duration::from_nanos(u64::MAX);

/// A time of so many seconds: none for what is negative or no number, 584 years at most.
pub fn seconds(seconds: f64) -> Duration {
    match seconds > 0.0 {
        true => Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST)),
        false => Duration::ZERO,
    }
}

/// 584 years fit; a clock that has gone so far stands.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_clock_stands_at_its_end_instead_of_beginning_again() {
        let clock = VirtualClock::default();
        clock.advance(Duration::from_secs(7));
        clock.sleep_until(Duration::MAX);
        assert_eq!(clock.now(), LONGEST);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), LONGEST);
        assert!(clock.reading().is_none());
    }

    #[test]
    fn any_number_is_a_time() {
        for never in [-1.0, f64::NAN, f64::NEG_INFINITY, 0.0] {
            assert_eq!(seconds(never), Duration::ZERO);
        }
        assert_eq!(seconds(1.5), Duration::from_millis(1500));
        for ever in [1e12, 1e300, f64::INFINITY] {
            assert_eq!(seconds(ever), LONGEST);
        }
    }

    #[test]
    fn clocks_of_the_system_go_alike() {
        let clock = WallClock::start();
        let before = clock.reading().unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let span = clock.reading().unwrap().since(&before);
        assert!(span.monotonic >= 0.06, "{span:?}");
        assert!((span.calendar - span.monotonic).abs() < 0.5, "{span:?}");
        let boot = span.boot.unwrap();
        assert!((boot - span.monotonic).abs() < 0.5, "{span:?}");
    }
}
