//! Allocated ranges, by address, and what can be wrong with an access.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub start: u64,
    pub bytes: u64,
    pub host: *mut u8,
    /// One bit a byte: was it written? Null for memory that the host fills.
    pub written: *mut u8,
    pub device: Option<usize>,
    /// Of memory from a pool: the devices that may use it, one bit each. Other memory is as its device's
    /// context allows.
    pub readers: Option<u64>,
}

// SAFETY: regions are ranges of memory that lives until they leave the map; access goes through atomics.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    pub fn end(&self) -> u64 {
        self.start + self.bytes
    }
}

/// All regions at one moment, by address.
#[derive(Clone, Debug, Default)]
pub struct Map {
    pub(super) regions: Vec<Region>,
}

impl Map {
    pub fn insert(&mut self, region: Region) {
        let at = self.regions.partition_point(|r| r.start < region.start);
        self.regions.insert(at, region);
    }

    pub fn remove(&mut self, start: u64) -> Option<Region> {
        let at = self
            .regions
            .binary_search_by_key(&start, |r| r.start)
            .ok()?;
        Some(self.regions.remove(at))
    }

    /// The last region that begins at or before the address.
    pub(super) fn before(&self, address: u64) -> Option<usize> {
        self.regions
            .partition_point(|r| r.start <= address)
            .checked_sub(1)
    }

    pub fn at(&mut self, start: u64) -> Option<&mut Region> {
        let at = self
            .regions
            .binary_search_by_key(&start, |r| r.start)
            .ok()?;
        Some(&mut self.regions[at])
    }

    pub fn containing(&self, address: u64) -> Option<&Region> {
        let region = &self.regions[self.before(address)?];
        (address < region.end()).then_some(region)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    OutOfBounds,
    Misaligned,
    NeverWritten,
    OtherDevice,
    Early,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub address: u64,
    pub bytes: u64,
    pub near: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::OutOfBounds => "is outside every allocation",
            FaultKind::Misaligned => "is not aligned to its size",
            FaultKind::NeverWritten => "reads bytes that were never written",
            FaultKind::OtherDevice => "is on another device, which this one has no access to",
            FaultKind::Early => {
                "races with a kernel in front, which this one overlaps: griddepcontrol.wait comes first, and no .nc"
            }
        };
        write!(
            f,
            "access of {} bytes at {:#x} {what}{}",
            self.bytes, self.address, self.near
        )
    }
}
