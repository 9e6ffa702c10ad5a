//! What a block's threads have seen of memory that others write, and which memory that is.

use std::collections::HashMap;
use std::ops::Range;

use super::access::lanes_of;
use super::registers::LANES;
use super::under_way::Remote;
use crate::memory::own_addresses;

/// What a block's threads have seen of memory that others write.
#[derive(Default)]
pub struct Sight {
    /// By warp and lane: when it last looked at all of it anew.
    looked: Vec<[u64; LANES]>,
    /// For fences of the block: the latest of all.
    pub told: u64,
    /// When what the cache holds was fetched.
    pub cached: HashMap<u64, u64>,
}

impl Sight {
    pub fn of(&mut self, warp: usize, began: u64) -> &mut [u64; LANES] {
        if self.looked.len() <= warp {
            self.looked.resize(warp + 1, [began; LANES]);
        }
        &mut self.looked[warp]
    }

    /// Has any thread of the block used such memory, or fenced?
    pub fn used(&self) -> bool {
        !self.looked.is_empty()
    }

    /// These warps have met at a barrier.
    pub fn barrier(&mut self, remote: &Remote, block: [u32; 3], warps: &[usize]) {
        let latest = warps
            .iter()
            .flat_map(|w| *self.of(*w, remote.began))
            .max()
            .unwrap_or(0);
        let met = warps.iter().fold(0, |m, w| m | 1u32 << w);
        for warp in warps {
            *self.of(*warp, remote.began) = [latest; LANES];
        }
        let mut way = remote.under_way();
        for stored in way.stores.iter_mut().filter(|s| s.thread.block == block) {
            if met & (1 << stored.thread.warp | stored.told) != 0 {
                stored.told |= met;
            }
        }
    }

    /// These lanes of a warp have.
    pub fn warp_barrier(&mut self, remote: &Remote, block: [u32; 3], warp: usize, lanes: u32) {
        let looked = self.of(warp, remote.began);
        let latest = lanes_of(lanes).map(|lane| looked[lane]).max().unwrap_or(0);
        lanes_of(lanes).for_each(|lane| looked[lane] = latest);
        let mut way = remote.under_way();
        for stored in way
            .stores
            .iter_mut()
            .filter(|s| s.thread.block == block && s.thread.warp == warp)
        {
            if lanes >> stored.thread.lane & 1 != 0 {
                stored.told |= 1 << warp;
            }
        }
    }
}

/// Addresses that a kernel's own device serves alone.
#[derive(Clone)]
pub struct Near {
    pub own: Range<u64>,
    /// Of these: where other devices write.
    reached: Range<u64>,
}

impl Near {
    pub fn everything() -> Self {
        Self {
            own: 0..u64::MAX,
            reached: 0..0,
        }
    }

    pub fn of(remote: &Remote) -> Self {
        let own = match remote.weak {
            true => 0..0,
            false => own_addresses(remote.device),
        };
        Self {
            own,
            reached: remote.bus.reached(remote.device),
        }
    }

    pub fn holds_all(&self, address: u64, bytes: u64) -> bool {
        let end = address.saturating_add(bytes);
        self.own.start <= address
            && end <= self.own.end
            && (self.reached.end <= address || end <= self.reached.start)
    }

    #[inline(always)]
    pub fn holds(&self, address: u64) -> bool {
        address.wrapping_sub(self.own.start) < self.own.end - self.own.start
            && address.wrapping_sub(self.reached.start) >= self.reached.end - self.reached.start
    }
}
