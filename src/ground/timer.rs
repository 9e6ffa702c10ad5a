//! Who tells when a device did what it was given.

use std::time::Duration;

use super::launch::Launch;

/// Points in the work that was queued on a device, on its own clock: the host queues ahead of what it does.
pub trait Timer {
    /// After all that was queued so far.
    ///
    /// # Errors
    /// The device has failed.
    fn mark(&mut self) -> Result<(), String>;

    /// An operation of a layer begins, for a profiler that watches from outside,
    fn enter(&mut self, _name: &str, _layer: Option<usize>) {}

    /// and is over.
    fn leave(&mut self) {}

    /// Waits for all marks; the time of each since the first.
    ///
    /// # Errors
    /// The device has failed.
    fn times(&mut self) -> Result<Vec<Duration>, String>;

    /// For each mark, once [`Self::times`] has waited for them: what was launched since the one before it. `None`: the
    /// device does not tell.
    ///
    /// # Errors
    /// The device has failed.
    fn launches(&mut self) -> Result<Option<Vec<Vec<Launch>>>, String> {
        Ok(None)
    }

    /// Whether it also times what a graph runs that is replayed.
    fn sees_replays(&self) -> bool {
        false
    }

    /// Takes back the last `marks`, which were made while a graph was captured: nothing of it ran. What was launched before
    /// each of them.
    fn take_back(&mut self, _marks: usize) -> Vec<Vec<Launch>> {
        Vec::new()
    }

    /// A graph is replayed, with these marks.
    fn replayed(&mut self, _marks: &[Vec<Launch>]) {}
}
