//! Does a warp wait for what others write? It then gives way, so that they can.

use std::collections::HashSet;

/// Rounds of a loop, weighed, after which a warp that polls gives way: a load is worth more than an atomic
/// operation, which is repeated for other reasons too.
const LIMIT: u32 = 32;
pub const LOAD: u32 = 4;
pub const ATOMIC: u32 = 1;
/// Different things seen that are kept in mind.
const REMEMBERED: usize = 64;

/// One look at memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Look {
    pub line: u32,
    pub address: u64,
    pub value: u64,
}

#[derive(Default)]
pub struct Poll {
    /// Since the last backward branch: how much it counts.
    weight: u32,
    rounds: u32,
    pub last: Look,
    seen: HashSet<Look>,
    /// Has it changed memory since it last gave way?
    pub wrote: bool,
}

impl Poll {
    pub fn look(&mut self, address: u64, value: u64, weight: u32) {
        self.weight = self.weight.max(weight);
        (self.last.address, self.last.value) = (address, value);
    }

    pub fn sleep(&mut self) {
        self.weight = LIMIT;
    }

    /// A backward branch. Has it polled long enough?
    #[inline(always)]
    pub fn round(&mut self, line: u32) -> bool {
        if self.weight == 0 {
            return false;
        }
        self.last.line = line;
        self.rounds += std::mem::take(&mut self.weight);
        let full = self.rounds >= LIMIT;
        if full {
            self.rounds = 0;
        }
        full
    }

    /// Has the warp seen or done something new since it last gave way?
    pub fn moved(&mut self) -> bool {
        if self.seen.len() >= REMEMBERED {
            self.seen.clear();
        }
        self.seen.insert(self.last) | std::mem::take(&mut self.wrote)
    }
}
