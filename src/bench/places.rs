//! Room for requests or conversations in flight, where a load bounds them.

use std::collections::VecDeque;
use std::time::Duration;

use super::scenario::Load;

/// Room for so many requests, or conversations.
pub struct Places {
    origin: Duration,
    /// Never taken yet.
    unused: usize,
    /// When each of the others that are free fell so.
    freed: VecDeque<Duration>,
}

impl Places {
    pub fn of(load: &Load, origin: Duration) -> Option<Self> {
        Some(Self {
            origin,
            unused: load.most_in_flight()?,
            freed: VecDeque::new(),
        })
    }

    /// Since when the one that was free first is so; `None`: all are taken.
    pub fn free_since(&self) -> Option<Duration> {
        match self.unused {
            0 => self.freed.front().copied(),
            _ => Some(self.origin),
        }
    }

    /// One is free since `time`.
    pub fn give_back(&mut self, time: Duration) {
        self.freed.push_back(time);
    }

    pub fn take(&mut self) {
        match self.unused {
            0 => drop(self.freed.pop_front()),
            _ => self.unused -= 1,
        }
    }
}
