//! What a run is to do, and whether the machine can hold it.

use std::time::Duration;

use super::scenario::Load;
use crate::ground::Sampling;
use crate::ground::results::{AtEnd, Cancel};
use crate::metrics::records::bytes_in_flight;
use crate::workload::Work;

/// Everything that decides a run.
#[derive(Debug, Clone)]
pub struct Script {
    /// What each request asks.
    pub work: Work,
    /// When each request arrives.
    pub load: Load,
    /// How many at most.
    pub requests: usize,
    /// Requests played before the window, with outputs cut to a few tokens.
    pub warmup: usize,
    /// What ends requests and the run early.
    pub limits: Limits,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Ids that end an output early; empty for exact lengths.
    pub end_tokens: Vec<u32>,
    /// Of synthetic prompts and drawn arrivals.
    pub seed: u64,
}

/// What ends requests, or the run, before all is played; by default nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// From arrival; a request that takes longer is ended and counted as failed.
    pub request_timeout: Option<Duration>,
    /// From the first scheduled arrival; after that no request is sent.
    pub duration: Option<Duration>,
    /// What becomes of the requests in flight then.
    pub at_end: AtEnd,
    /// Requests that are given up.
    pub cancel: Option<Cancel>,
    /// An open loop ends when its queue keeps growing.
    pub stop_when_saturated: bool,
}

/// More than a machine can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--concurrency {concurrency}: {requests} requests in flight take about {} MiB, and {} MiB of memory are free; ask for {most} at most",
    bytes >> 20,
    available >> 20
)]
pub struct TooMany {
    /// That was asked for.
    pub concurrency: usize,
    /// That would be in flight.
    pub requests: usize,
    /// That they would take.
    pub bytes: u64,
    /// That are free.
    pub available: u64,
    /// Requests that fit.
    pub most: u64,
}

impl Script {
    /// Refuses a closed loop whose requests in flight do not fit into `available` bytes of memory; 0 is
    /// unknown. Those of an open loop are counted as they come.
    ///
    /// # Errors
    /// `TooMany`.
    pub fn check(&self, available: u64) -> Result<(), TooMany> {
        let Some(concurrency) = self.load.most_in_flight() else {
            return Ok(());
        };
        let requests = concurrency.min(self.requests);
        let each = bytes_in_flight(0, self.work.longest());
        let bytes = each.saturating_mul(requests as u64);
        match available > 0 && bytes > available {
            true => Err(TooMany {
                concurrency,
                requests,
                bytes,
                available,
                most: available / each,
            }),
            false => Ok(()),
        }
    }
}
