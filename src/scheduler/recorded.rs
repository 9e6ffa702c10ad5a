//! A scheduler whose calls are kept, where that was asked for.

use std::ops::Deref;

use super::config::{SchedulerConfig, SchedulerError};
use super::decision::{Decision, Outcome, Submission};
use super::log::SchedulerLog;
use super::state::Scheduler;
use crate::ground::RequestId;

/// Changes go through it, questions to the scheduler behind it.
pub struct Recorded {
    scheduler: Scheduler,
    log: Option<SchedulerLog>,
}

impl Deref for Recorded {
    type Target = Scheduler;

    fn deref(&self) -> &Scheduler {
        &self.scheduler
    }
}

impl Recorded {
    /// # Errors
    /// The config allows no step.
    pub fn new(config: SchedulerConfig) -> Result<Self, SchedulerError> {
        Ok(Self {
            scheduler: Scheduler::new(config)?,
            log: None,
        })
    }

    /// From now on: for a scheduler that was not called yet, or the log cannot be replayed.
    pub fn keep(&mut self) {
        self.log = Some(SchedulerLog::new(self.config().clone()));
    }

    /// What was kept.
    pub fn take(&mut self) -> Option<SchedulerLog> {
        self.log.take()
    }

    /// See [`Scheduler::add`].
    pub fn add(&mut self, submission: Submission) -> Result<(), SchedulerError> {
        let copy = self.log.is_some().then(|| submission.clone());
        let outcome = self.scheduler.add(submission);
        if let Some((log, submission)) = self.log.as_mut().zip(copy) {
            log.add(&submission, outcome.is_ok());
        }
        outcome
    }

    /// See [`Scheduler::abort`].
    pub fn abort(&mut self, id: RequestId) -> bool {
        let found = self.scheduler.abort(id);
        if let Some(log) = &mut self.log {
            log.abort(id, found);
        }
        found
    }

    /// See [`Scheduler::reset_prefix_cache`].
    pub fn reset_prefix_cache(&mut self) {
        let done = self.scheduler.reset_prefix_cache();
        if let Some(log) = &mut self.log {
            log.reset(done);
        }
    }

    /// See [`Scheduler::schedule`].
    pub fn schedule(&mut self, out: &mut Decision) {
        self.scheduler.schedule(out);
        if let Some(log) = &mut self.log {
            log.schedule(out);
        }
    }

    /// See [`Scheduler::complete`].
    pub fn complete(&mut self, outcomes: &[Outcome]) {
        self.scheduler.complete(outcomes);
        if let Some(log) = &mut self.log {
            log.complete(outcomes);
        }
    }

    /// See [`Scheduler::settle`].
    pub fn settle(&mut self, outcomes: &[Outcome]) {
        self.scheduler.settle(outcomes);
        if let Some(log) = &mut self.log {
            log.settle(outcomes);
        }
    }
}
