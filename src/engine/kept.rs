//! The calls of the engine's scheduler, kept for whoever replays them.

use super::Engine;
use crate::scheduler::SchedulerLog;

impl Engine {
    /// Keeps every call from now on, in memory: for an engine that has served no request yet.
    pub fn keep_schedule(&mut self) {
        self.scheduler.keep();
    }

    /// What was kept.
    pub fn take_schedule(&mut self) -> Option<SchedulerLog> {
        self.scheduler.take()
    }
}
