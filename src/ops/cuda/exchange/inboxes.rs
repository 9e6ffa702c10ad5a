//! What ranks on the GPUs of one process share: each one's inbox, and the word that ends all waiting.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use candle_core::{Result, bail};

use super::region::Region;
use crate::ops::cuda::device::Gpu;
use crate::ops::scratch::{self, HALVES, STAGES};

pub use crate::ops::scratch::{CHANNEL_BYTES, CHANNELS, MOST_RANKS, PIECE_BYTES};

/// The unit that kernels move.
pub const UNIT: usize = 16;

/// Where inboxes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// In host memory, near the rank that reads it.
    Host,
    /// In the reader's own memory, which every other GPU reaches.
    Peers,
}

#[derive(Debug)]
pub struct Inboxes {
    pub(super) route: Route,
    pub(super) ranks: usize,
    pub(super) slot_units: usize,
    pub(super) by_rank: Vec<OnceLock<Region>>,
    /// In host memory: where copies of large messages arrive.
    pub(super) staging: Vec<OnceLock<Region>>,
    /// In host memory: not 0 once a rank has failed.
    pub(super) stop: OnceLock<Region>,
}

impl Inboxes {
    /// For `ranks` of them. Messages go in rounds of as much as slots of `channel_bytes` in all hold; usually
    /// [`CHANNEL_BYTES`].
    ///
    /// # Errors
    /// There are more ranks than kernels know of, or the slots hold nothing.
    pub fn new(ranks: usize, route: Route, channel_bytes: usize) -> Result<Self> {
        let slot_units = channel_bytes / UNIT / ranks.max(1);
        if !(1..=MOST_RANKS).contains(&ranks) || slot_units == 0 {
            bail!(
                "{ranks} ranks with slots of {channel_bytes} bytes: from 1 to {MOST_RANKS} ranks exchange, in units of {UNIT} bytes"
            );
        }
        let slots = || (0..ranks).map(|_| OnceLock::new()).collect();
        Ok(Self {
            route,
            ranks,
            slot_units,
            by_rank: slots(),
            staging: slots(),
            stop: OnceLock::new(),
        })
    }

    /// Makes the inbox of `rank`, on its own thread. All must have one before any joins.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn open(&self, gpu: &Gpu, rank: usize) -> Result<()> {
        let bytes = scratch::inbox(self.ranks * self.slot_units * UNIT);
        let inbox = match self.route {
            Route::Host => Region::on_host(gpu, bytes)?,
            Route::Peers => Region::on_gpu(gpu, bytes)?,
        };
        self.by_rank[rank].get_or_init(|| inbox);
        if self.route == Route::Host {
            let staging = Region::on_host(gpu, HALVES * STAGES * PIECE_BYTES)?;
            self.staging[rank].get_or_init(|| staging);
        }
        if rank == 0 {
            let stop = Region::on_host(gpu, size_of::<u32>())?;
            self.stop.get_or_init(|| stop);
        }
        Ok(())
    }

    /// Ends all waiting on every GPU, now and later: a rank has failed, and nothing that comes out of an exchange means
    /// anything any more. From any thread, also while GPUs wait.
    pub fn abort(&self) {
        if let Some(stop) = self.stop() {
            stop.store(1, Ordering::Release);
        }
    }

    pub fn is_aborted(&self) -> bool {
        let stop = self.stop();
        stop.is_some_and(|stop| stop.load(Ordering::Acquire) != 0)
    }

    fn stop(&self) -> Option<&AtomicU32> {
        let word = self.stop.get().and_then(Region::host)?;
        // SAFETY: the word lives as long as `self`, and is only ever stored to in `abort`, and loaded here and by kernels.
        Some(unsafe { AtomicU32::from_ptr(word) })
    }
}

/// What every rank has made.
pub(super) fn made(slot: &OnceLock<Region>) -> Result<&Region> {
    match slot.get() {
        Some(region) => Ok(region),
        None => bail!("a rank exchanges with one that has no inbox yet"),
    }
}
