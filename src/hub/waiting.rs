//! Waiting that ends when it must: for a stop, for a server that is too slow.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::settings::Patience;
use crate::ground::Progress;

/// Between two looks at whether to stop.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// Why there is nothing to wait for any more.
pub(super) enum Ended {
    Stopped,
    Late,
    /// What was waited for is gone.
    Gone,
}

/// What `work` gives within `longest`; it may wait for a server as long as it likes.
pub(super) fn stoppable<T: Send + 'static>(
    progress: &dyn Progress,
    longest: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Ended> {
    let started = Instant::now();
    let (done, result) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        // Nobody waits for what was stopped.
        let _ = done.send(work());
    });
    loop {
        match result.recv_timeout(GLANCE) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Err(Ended::Gone),
            Err(RecvTimeoutError::Timeout) if progress.is_stopped() => return Err(Ended::Stopped),
            Err(RecvTimeoutError::Timeout) if started.elapsed() > longest => {
                return Err(Ended::Late);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Sleeps; false when it was stopped.
pub(super) fn pause(progress: &dyn Progress, length: Duration) -> bool {
    let end = Instant::now() + length;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if progress.is_stopped() {
            return false;
        }
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(GLANCE));
    }
}

/// Whether bytes come fast enough, window by window.
pub(super) struct Pace<'a> {
    patience: &'a Patience,
    since: Instant,
    bytes: u64,
}

impl<'a> Pace<'a> {
    pub fn new(patience: &'a Patience) -> Self {
        Self {
            patience,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Bytes a second of a window that brought too few.
    pub fn too_slow(&mut self, more: usize) -> Option<u64> {
        self.bytes += more as u64;
        let elapsed = self.since.elapsed();
        if elapsed < self.patience.window {
            return None;
        }
        let rate = (self.bytes as f64 / elapsed.as_secs_f64()) as u64;
        (self.since, self.bytes) = (Instant::now(), 0);
        (rate < self.patience.least_rate).then_some(rate)
    }
}
