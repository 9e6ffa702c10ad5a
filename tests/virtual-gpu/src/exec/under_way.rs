//! A launch's stores to memory that is not its device's own: on their way for a while, overtaking each other.

use std::sync::{Arc, Mutex, MutexGuard};

use super::block::roll;
use super::order::Scope;
use crate::memory::{Bus, View, Write, own_addresses};

const EVERY_WARP: u32 = u32::MAX;

/// A launch's stores on their way.
pub struct Remote {
    pub bus: Arc<Bus>,
    pub device: usize,
    /// When the launch began: what had arrived by then all its threads see.
    pub began: u64,
    /// Do atomic operations reach memory that is not the device's own as one step?
    pub atomics: bool,
    /// Is the device's own memory like any other, and its blocks like devices?
    pub weak: bool,
    pub under_way: Mutex<UnderWay>,
}

pub struct UnderWay {
    pub stores: Vec<Stored>,
    pub random: u64,
    /// When threads had last looked that released to the whole device.
    pub told: u64,
}

pub struct Stored {
    pub write: Write,
    pub thread: Thread,
    /// Warps of the block that a barrier has told, and whether the whole device was.
    pub told: u32,
    pub device: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    pub block: [u32; 3],
    pub warp: usize,
    pub lane: usize,
}

impl Stored {
    pub fn known_to(&self, thread: Thread) -> bool {
        self.thread == thread
            || self.device
            || self.thread.block == thread.block && self.told >> thread.warp & 1 != 0
    }
}

impl Remote {
    pub fn new(bus: Arc<Bus>, device: usize, seed: u64, (atomics, weak): (bool, bool)) -> Self {
        let under_way = UnderWay {
            stores: Vec::new(),
            random: seed | 1,
            told: 0,
        };
        Self {
            began: bus.time(),
            bus,
            device,
            atomics,
            weak,
            under_way: Mutex::new(under_way),
        }
    }

    pub fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Some stores arrive, or none: did any, and are others still on their way?
    pub fn settle(&self, view: &mut View) -> (bool, bool) {
        let mut way = self.under_way();
        let count = way.stores.len() as u64;
        let due = roll(&mut way.random) % (count + 1);
        for _ in 0..due {
            self.let_one_arrive(&mut way, view);
        }
        (due > 0, due < count)
    }

    /// Any one, but for those to the same place, which keep their order.
    pub fn let_one_arrive(&self, way: &mut UnderWay, view: &mut View) -> bool {
        if way.stores.is_empty() {
            return false;
        }
        let at = (roll(&mut way.random) % way.stores.len() as u64) as usize;
        let Write { address, bytes, .. } = way.stores[at].write;
        let first = way
            .stores
            .iter()
            .position(|s| s.write.meets(address, bytes));
        let stored = way.stores.remove(first.unwrap_or(at));
        // Its place was checked when it was stored.
        let by = self.writer(stored.thread.block);
        let _ = self.bus.arrive(view, by, stored.write);
        true
    }

    /// A thread releases: what it knows of arrives before what it does next, or is known to more threads.
    pub fn release(
        &self,
        way: &mut UnderWay,
        view: &mut View,
        thread: Thread,
        scope: Scope,
        looked: u64,
    ) {
        match scope {
            Scope::System => {
                let (due, kept) = way.stores.drain(..).partition(|s| s.known_to(thread));
                let mut due = UnderWay {
                    stores: due,
                    random: way.random,
                    told: 0,
                };
                while self.let_one_arrive(&mut due, view) {}
                (way.stores, way.random) = (kept, due.random);
                way.told = way.told.max(looked);
            }
            Scope::Device => {
                way.stores
                    .iter_mut()
                    .filter(|s| s.known_to(thread))
                    .for_each(|s| s.device = true);
                way.told = way.told.max(looked);
            }
            Scope::Block => {
                way.stores
                    .iter_mut()
                    .filter(|s| s.known_to(thread))
                    .for_each(|s| s.told = EVERY_WARP);
            }
        }
    }

    /// A value with what this launch has stored over it, as one of its threads sees that.
    pub fn with_own(&self, way: &UnderWay, thread: Thread, at: (u64, u64), value: u64) -> u64 {
        let (address, bytes) = at;
        let mine = way
            .stores
            .iter()
            .filter(|s| s.write.meets(address, bytes) && (!self.weak || s.known_to(thread)));
        mine.fold(value, |value, s| s.write.over(address, bytes, value))
    }

    /// Who sees a block's writes as its own: the device, or the block alone.
    pub fn writer(&self, block: [u32; 3]) -> usize {
        match self.weak {
            true => block.iter().fold(1, |all, &i| all << 20 | (i as usize)),
            false => self.device,
        }
    }

    /// How far an order reaches: where blocks are like devices, one for the device goes as far as one for all.
    pub fn reach(&self, scope: Scope) -> Scope {
        match scope {
            Scope::Device if self.weak => Scope::System,
            scope => scope,
        }
    }

    /// Is a change at this scope one step for all who see it?
    pub fn changes_at_once(&self, address: u64, scope: Scope) -> bool {
        let own = self.weak && own_addresses(self.device).contains(&address);
        own || self.atomics && scope == Scope::System
    }
}
