//! Ranks that are threads of one process and share its memory.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{Error, Result};

use super::{Collective, Failed};
use crate::ground::recorder::Traffic;
use crate::ops::cpu::rendezvous::{Rendezvous, Stopped};
use crate::ops::{Buffer, storage};

pub struct Threads {
    rank: usize,
    rendezvous: Arc<Rendezvous>,
    traffic: Cell<Traffic>,
}

impl Threads {
    pub fn new(rank: usize, rendezvous: Arc<Rendezvous>) -> Self {
        Self {
            rank,
            rendezvous,
            traffic: Cell::default(),
        }
    }

    /// Counts what `exchange` moves, the time, and the wait for the slowest rank, which it gives.
    fn counted(&self, bytes: usize, exchange: impl FnOnce() -> Result<Duration>) -> Result<()> {
        let start = Instant::now();
        let wait = exchange()?;
        let mut traffic = self.traffic.get();
        traffic += Traffic {
            bytes: bytes as u64,
            time: start.elapsed(),
            wait: Some(wait),
        };
        self.traffic.set(traffic);
        Ok(())
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.rendezvous.ranks()
    }

    fn all_reduce(&self, x: &Buffer, rows: usize) -> Result<()> {
        let len = rows * x.dim(1)?;
        self.counted(len * size_of::<f32>(), || {
            storage::write(x, |values: &mut [f32]| {
                let values = &mut values[..len];
                self.rendezvous.sum(self.rank, values).map_err(stopped)
            })
        })
    }

    fn all_gather(&self, mine: &[u32], all: &mut Vec<u32>) -> Result<()> {
        self.counted(size_of_val(mine), || {
            let outcome = self.rendezvous.gather(self.rank, mine, all);
            outcome.map_err(stopped)
        })
    }

    fn take_traffic(&self) -> Traffic {
        self.traffic.take()
    }

    fn failed(&self) -> Failed {
        let rendezvous = self.rendezvous.clone();
        Arc::new(move || rendezvous.stopped().map(|stopped| stopped.to_string()))
    }
}

fn stopped(reason: Stopped) -> Error {
    Error::wrap(reason)
}
