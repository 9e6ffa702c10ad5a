//! What a sweep tells of the point that is played, and how long the others will take.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::effort::{Effort, Pace};
use crate::ground::clock::seconds;
use crate::ground::{Progress, Task};
use crate::session::Session;

/// Counts points that are played one after the other.
pub struct Titled {
    pub progress: Arc<dyn Progress>,
    label: Arc<Mutex<String>>,
    start: Instant,
    /// Of each point, in the order played.
    efforts: Vec<Effort>,
    /// Known with the first engine.
    pace: Option<Pace>,
    done: usize,
}

impl Titled {
    pub fn new(progress: Arc<dyn Progress>, efforts: Vec<Effort>) -> Self {
        Self {
            progress,
            label: Arc::default(),
            start: Instant::now(),
            efforts,
            pace: None,
            done: 0,
        }
    }

    /// An engine is loaded: from the first one on it is known how long all will take, roughly.
    pub fn loaded(&mut self, session: &mut Session) {
        // One point has no others to guess the time of.
        if self.pace.is_some() || self.efforts.len() < 2 {
            return;
        }
        self.pace = Pace::of(session);
        self.start = Instant::now();
        if let Some(left) = self.left().filter(|_| self.done == 0) {
            let points = self.efforts.len();
            let about = rough(left);
            self.progress
                .remark(&format!("{points} points to play: about {about}, a guess"));
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
        let (number, all) = (self.done + 1, self.efforts.len());
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

    /// As guessed, made right by the points that were played.
    fn left(&self) -> Option<Duration> {
        let pace = self.pace?;
        let of = |efforts: &[Effort]| efforts.iter().map(|effort| effort.at(pace)).sum::<f64>();
        let (done, left) = self.efforts.split_at(self.done.min(self.efforts.len()));
        let guessed = of(done);
        let wrong = match guessed > 0.0 {
            true => self.start.elapsed().as_secs_f64() / guessed,
            false => 1.0,
        };
        Some(seconds(of(left) * wrong))
    }
}

/// Simulated points, which are played on all cores: how long they take, where that is worth a word.
pub fn of_simulated(efforts: &[Effort], cores: usize) -> Option<String> {
    const SHORT: f64 = 2.0;
    let all: f64 = efforts.iter().map(|effort| effort.simulated()).sum();
    let each = all / cores.max(1) as f64;
    let points = efforts.len();
    let about = rough(seconds(each));
    (each > SHORT).then(|| format!("{points} points to simulate: about {about}, a guess"))
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
