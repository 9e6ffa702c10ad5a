//! What long work tells of itself while it goes on, and how it learns that it is to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::live::Live;

/// Work that takes time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Bytes of a file of this name.
    Download(String),
    /// Headers of a model's files of weights.
    Headers(String),
    /// Bytes of weights, on their way to all ranks of this process.
    Load,
    /// Requests of the load of this name.
    Requests(String),
    /// Points of a sweep.
    Points(String),
    /// Steps of the load of this name.
    Steps(String),
}

/// Whoever watches the work: a console, a log, nobody. One task goes on at a time; ranks tell of theirs together.
pub trait Progress: Send + Sync {
    /// `total` units lie ahead; 0: nobody knows how many.
    fn start(&self, _task: Task, _total: u64) {}

    /// So many units more are done.
    fn advance(&self, _units: u64) {}

    /// The task is over, done or not.
    fn finish(&self) {}

    /// Where a run tells of itself as it goes on; `None`: nobody looks.
    fn live(&self) -> Option<&Live> {
        None
    }

    /// A sentence that whoever started the work should read.
    fn remark(&self, _text: &str) {}

    /// A sentence for those who want to know more.
    fn detail(&self, _text: &str) {}

    /// Set from outside where the work is to end as soon as it can.
    fn stop(&self) -> &AtomicBool {
        static NEVER: AtomicBool = AtomicBool::new(false);
        &NEVER
    }

    fn is_stopped(&self) -> bool {
        self.stop().load(Ordering::Relaxed)
    }
}

/// Work beside other work: nothing is told of it, and it stops with the other.
pub struct Silent(pub Arc<dyn Progress>);

impl Progress for Silent {
    fn stop(&self) -> &AtomicBool {
        self.0.stop()
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unwatched;

impl Progress for Unwatched {}
