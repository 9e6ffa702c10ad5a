//! What a sweep tells of the point that is played, and how long the others will take.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ground::{Progress, Task};

/// Counts points that are played one after the other.
pub struct Titled {
    pub progress: Arc<dyn Progress>,
    label: Arc<Mutex<String>>,
    start: Instant,
    all: usize,
    done: usize,
}

impl Titled {
    pub fn new(progress: Arc<dyn Progress>, all: usize) -> Self {
        Self {
            progress,
            label: Arc::default(),
            start: Instant::now(),
            all,
            done: 0,
        }
    }

    /// Puts the point's title before what the work tells of itself.
    pub fn watched(&self) -> Arc<dyn Progress> {
        Arc::new(Watched {
            progress: self.progress.clone(),
            label: self.label.clone(),
        })
    }

    /// The next point is played.
    pub fn begin(&self, title: &str) {
        let (number, all) = (self.done + 1, self.all);
        let left = match self.left() {
            Some(left) => format!(", about {} left", rough(left)),
            None => String::new(),
        };
        let label = format!("{number}/{all} {title}{left}:");
        self.progress.detail(&label);
        *self.label.lock().unwrap_or_else(PoisonError::into_inner) = label;
    }

    /// It is over.
    pub fn done(&mut self) {
        self.done += 1;
    }

    /// By the points that were played.
    fn left(&self) -> Option<Duration> {
        let left = self.all.saturating_sub(self.done) as u32;
        let done = u32::try_from(self.done).ok().filter(|&done| done > 0)?;
        Some(self.start.elapsed() / done * left)
    }
}

/// A time as one says it.
fn rough(time: Duration) -> String {
    const MINUTE: u64 = 60;
    match time.as_secs() {
        seconds if seconds < 2 * MINUTE => format!("{seconds} s"),
        seconds if seconds < 2 * MINUTE * MINUTE => format!("{} min", seconds / MINUTE),
        seconds => format!("{} h", seconds / MINUTE / MINUTE),
    }
}

struct Watched {
    progress: Arc<dyn Progress>,
    label: Arc<Mutex<String>>,
}

impl Progress for Watched {
    fn start(&self, task: Task, total: u64) {
        let label = self.label.lock().unwrap_or_else(PoisonError::into_inner);
        let task = match task {
            Task::Requests(load) if !label.is_empty() => Task::Requests(format!("{label} {load}")),
            task => task,
        };
        self.progress.start(task, total);
    }

    fn advance(&self, units: u64) {
        self.progress.advance(units);
    }

    fn finish(&self) {
        self.progress.finish();
    }

    fn remark(&self, text: &str) {
        self.progress.remark(text);
    }

    fn detail(&self, text: &str) {
        self.progress.detail(text);
    }

    fn stop(&self) -> &AtomicBool {
        self.progress.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_one_unit() {
        let said = [5, 119, 120, 7199, 7200].map(|s| rough(Duration::from_secs(s)));
        assert_eq!(said, ["5 s", "119 s", "2 min", "119 min", "2 h"]);
    }
}
