//! Kernels that overlap (programmatic dependent launch): what one touches before it has waited for those in front must be
//! nothing that these write, and what it writes nothing that they read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Bytes of a cell: one bit for each.
const CELL: u64 = u64::BITS as u64;

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    read: u64,
    written: u64,
}

/// What kernels have touched.
#[derive(Debug, Default)]
pub struct Footprint {
    cells: HashMap<u64, Cell>,
}

impl Footprint {
    /// Numbers of cells, and the bits of `address..address + bytes` in each.
    fn parts(address: u64, bytes: u64) -> impl Iterator<Item = (u64, u64)> {
        let end = address + bytes;
        (address / CELL..end.div_ceil(CELL)).map(move |cell| {
            let from = address.max(cell * CELL) - cell * CELL;
            let to = end.min((cell + 1) * CELL) - cell * CELL;
            (cell, u64::MAX >> (CELL - (to - from)) << from)
        })
    }

    fn add(&mut self, address: u64, bytes: u64, writes: bool) {
        for (cell, bits) in Self::parts(address, bytes) {
            let cell = self.cells.entry(cell).or_default();
            match writes {
                true => cell.written |= bits,
                false => cell.read |= bits,
            }
        }
    }

    /// Would an access race with these?
    fn races(&self, address: u64, bytes: u64, writes: bool) -> bool {
        Self::parts(address, bytes).any(|(cell, bits)| {
            let Some(cell) = self.cells.get(&cell) else {
                return false;
            };
            let theirs = cell.written | if writes { cell.read } else { 0 };
            theirs & bits != 0
        })
    }
}

/// One kernel and those in front of it that may still run when it begins.
#[derive(Debug)]
pub struct Chain {
    /// Does it begin before they have ended?
    pub overlaps: bool,
    front: Footprint,
    own: Mutex<Footprint>,
}

impl Chain {
    pub fn new(overlaps: bool, front: Footprint) -> Self {
        let front = if overlaps {
            front
        } else {
            Footprint::default()
        };
        Self {
            overlaps,
            front,
            own: Mutex::default(),
        }
    }

    /// Notes an access; `early` is one before the wait. False if that is a race.
    pub fn touch(&self, address: u64, bytes: u64, writes: bool, early: bool) -> bool {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.add(address, bytes, writes);
        !(early && self.overlaps && self.front.races(address, bytes, writes))
    }

    /// What the kernel behind may find at work: that may begin before this one has waited.
    pub fn left(&mut self) -> Footprint {
        let mut all = std::mem::take(&mut self.front);
        let own = self.own.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (at, cell) in own.cells.drain() {
            let found = all.cells.entry(at).or_default();
            found.read |= cell.read;
            found.written |= cell.written;
        }
        all
    }
}
