//! The allocator of every device, and pinned host memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::Arc;

use super::arena::Arena;
use super::regions::{Map, Region};

/// Device addresses are no host addresses: a stray use on the host stops the program.
const FIRST_ADDRESS: u64 = 0x1000_0000_0000_0000;
const DEVICE_STRIDE: u64 = 1 << 40;
/// Alignment of allocations, and the least gap between two.
const GRAIN: u64 = 512;
/// Room for gaps: addresses cost nothing.
const ROOM: u64 = 2;
const BITS: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    pub asked: u64,
    pub free: u64,
}

struct Card {
    memory: Arena,
    written: Arena,
    /// Free ranges of the arena: offset to length.
    free: BTreeMap<u64, u64>,
    /// Allocated: offset to bytes with the gap.
    taken: BTreeMap<u64, u64>,
    used: u64,
    total: u64,
}

pub struct Space {
    cards: Vec<Card>,
    map: Arc<Map>,
    pinned: BTreeMap<u64, Arena>,
}

/// Where a device's own memory lies.
pub fn own_addresses(device: usize) -> Range<u64> {
    let start = FIRST_ADDRESS + device as u64 * DEVICE_STRIDE;
    start..start + DEVICE_STRIDE
}

/// The device that an address belongs to.
pub fn device_of(address: u64) -> Option<usize> {
    let offset = address.checked_sub(FIRST_ADDRESS)?;
    let device = (offset / DEVICE_STRIDE) as usize;
    (device < u8::MAX.into()).then_some(device)
}

impl Space {
    /// One device for each total of bytes.
    pub fn new(totals: &[u64]) -> std::io::Result<Self> {
        let mut cards = Vec::new();
        for total in totals {
            let room = (total * ROOM).min(DEVICE_STRIDE).next_multiple_of(GRAIN);
            cards.push(Card {
                memory: Arena::reserve(room as usize)?,
                written: Arena::reserve((room / BITS) as usize)?,
                free: BTreeMap::from([(0, room)]),
                taken: BTreeMap::new(),
                used: 0,
                total: *total,
            });
        }
        Ok(Self {
            cards,
            map: Arc::new(Map::default()),
            pinned: BTreeMap::new(),
        })
    }

    pub fn map(&self) -> Arc<Map> {
        self.map.clone()
    }

    pub fn used(&self, device: usize) -> u64 {
        self.cards[device].used
    }

    pub fn total(&self, device: usize) -> u64 {
        self.cards[device].total
    }

    /// `limit` is what all allocations of the device may take together.
    pub fn allocate(&mut self, device: usize, bytes: u64, limit: u64) -> Result<u64, OutOfMemory> {
        let card = &mut self.cards[device];
        let counted = bytes.next_multiple_of(GRAIN).max(GRAIN);
        let refused = OutOfMemory {
            asked: bytes,
            free: limit.saturating_sub(card.used),
        };
        if card.used + counted > limit {
            return Err(refused);
        }
        let whole = counted + GRAIN;
        let (&offset, &length) = card
            .free
            .iter()
            .find(|(_, length)| **length >= whole)
            .ok_or(refused)?;
        card.free.remove(&offset);
        if length > whole {
            card.free.insert(offset + whole, length - whole);
        }
        card.taken.insert(offset, whole);
        card.used += counted;
        let start = FIRST_ADDRESS + device as u64 * DEVICE_STRIDE + offset;
        let region = Region {
            start,
            bytes,
            host: card.memory.at(offset as usize),
            written: card.written.at((offset / BITS) as usize),
            device: Some(device),
            readers: None,
        };
        Arc::make_mut(&mut self.map).insert(region);
        Ok(start)
    }

    /// Says which devices may use an allocation, one bit each.
    pub fn share(&mut self, address: u64, readers: u64) {
        if let Some(region) = Arc::make_mut(&mut self.map).at(address) {
            region.readers = Some(readers);
        }
    }

    /// False if nothing was allocated at this address.
    pub fn free(&mut self, address: u64) -> bool {
        let Some(device) = device_of(address).filter(|d| *d < self.cards.len()) else {
            return false;
        };
        let offset = (address - FIRST_ADDRESS) % DEVICE_STRIDE;
        let card = &mut self.cards[device];
        let Some(whole) = card.taken.remove(&offset) else {
            return false;
        };
        Arc::make_mut(&mut self.map).remove(address);
        card.used -= whole - GRAIN;
        card.memory.clear(offset as usize, (whole - GRAIN) as usize);
        card.written
            .clear((offset / BITS) as usize, (whole / BITS) as usize);
        let (mut start, mut end) = (offset, offset + whole);
        if let Some((&before, &length)) = card.free.range(..offset).next_back()
            && before + length == start
        {
            card.free.remove(&before);
            start = before;
        }
        if let Some(&length) = card.free.get(&end) {
            card.free.remove(&end);
            end += length;
        }
        card.free.insert(start, end - start);
        true
    }

    /// Host memory that devices may use too, at its host address.
    pub fn pin(&mut self, bytes: u64) -> std::io::Result<u64> {
        let arena = Arena::reserve(bytes.max(1) as usize)?;
        let host = arena.at(0);
        let start = host as u64;
        Arc::make_mut(&mut self.map).insert(Region {
            start,
            bytes,
            host,
            written: null_mut(),
            device: None,
            readers: None,
        });
        self.pinned.insert(start, arena);
        Ok(start)
    }

    pub fn unpin(&mut self, address: u64) -> bool {
        Arc::make_mut(&mut self.map).remove(address);
        self.pinned.remove(&address).is_some()
    }

    /// Registers memory that the program has.
    pub fn register(&mut self, address: u64, bytes: u64) {
        let region = Region {
            start: address,
            bytes,
            host: address as *mut u8,
            written: null_mut(),
            device: None,
            readers: None,
        };
        Arc::make_mut(&mut self.map).insert(region);
    }

    pub fn unregister(&mut self, address: u64) -> bool {
        Arc::make_mut(&mut self.map).remove(address).is_some()
    }
}
