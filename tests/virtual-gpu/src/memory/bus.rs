//! What devices write into memory that is not their own: each write in the order in which it arrived, with what was
//! there before, so that whoever has not looked anew can still see that.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use super::space::device_of;
use super::{Fault, View};

/// Bytes that a cache keeps together.
pub const GRANULE: u64 = 32;
/// Writes to one granule that are kept; older values are forgotten.
const KEPT: usize = 16;

/// A write on its way or arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    pub address: u64,
    pub bytes: u64,
    pub value: u64,
}

impl Write {
    pub fn meets(&self, address: u64, bytes: u64) -> bool {
        self.address < address + bytes && address < self.address + self.bytes
    }

    /// Lays its bytes over a value of `bytes` bytes at an address.
    pub fn over(&self, address: u64, bytes: u64, value: u64) -> u64 {
        let mut out = value.to_le_bytes();
        let mine = self.value.to_le_bytes();
        for at in self.address.max(address)..(self.address + self.bytes).min(address + bytes) {
            out[(at - address) as usize] = mine[(at - self.address) as usize];
        }
        u64::from_le_bytes(out)
    }
}

/// A write that arrived, with the bytes that it replaced.
struct Past {
    time: u64,
    by: usize,
    before: Write,
}

#[derive(Default)]
struct Log {
    time: u64,
    granules: HashMap<u64, VecDeque<Past>>,
    /// By device: the range of its memory into which others have written.
    reached: HashMap<usize, Range<u64>>,
}

#[derive(Default)]
pub struct Bus {
    log: Mutex<Log>,
}

impl Bus {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// So many writes have arrived.
    pub fn time(&self) -> u64 {
        self.log().time
    }

    /// The part of a device's memory into which others have written.
    pub fn reached(&self, device: usize) -> Range<u64> {
        self.log().reached.get(&device).cloned().unwrap_or(0..0)
    }

    /// A device's write arrives.
    pub fn arrive(&self, view: &mut View, by: usize, write: Write) -> Result<(), Fault> {
        let mut log = self.log();
        let value = view.peek(write.address, write.bytes)?;
        view.write(write.address, write.bytes, write.value)?;
        log.note(by, Write { value, ..write });
        Ok(())
    }

    /// A change in one step, which nobody else can come between. The value before it.
    pub fn change(
        &self,
        view: &mut View,
        by: usize,
        (address, bytes): (u64, u64),
        change: impl Fn(u64) -> u64,
    ) -> Result<u64, Fault> {
        let mut log = self.log();
        let value = view.update(address, bytes, change)?;
        log.note(
            by,
            Write {
                address,
                bytes,
                value,
            },
        );
        Ok(value)
    }

    /// A device has itself written into its memory: nobody there sees what was before.
    pub fn forget(&self, address: u64, bytes: u64) {
        if let Some(past) = self.log().granules.get_mut(&(address / GRANULE)) {
            past.retain(|p| !p.before.meets(address, bytes));
        }
    }

    /// What `device` found at a place when it had last looked at `time`, from what is there now.
    pub fn as_of(&self, time: u64, device: usize, address: u64, bytes: u64, now: u64) -> u64 {
        let log = self.log();
        let Some(past) = log.granules.get(&(address / GRANULE)) else {
            return now;
        };
        let since = past.iter().rev().take_while(|p| p.time > time);
        // Its own writes it has always seen.
        since
            .filter(|p| p.before.meets(address, bytes))
            .take_while(|p| p.by != device)
            .fold(now, |value, p| p.before.over(address, bytes, value))
    }
}

impl Log {
    fn note(&mut self, by: usize, before: Write) {
        self.time += 1;
        let past = self.granules.entry(before.address / GRANULE).or_default();
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(Past {
            time: self.time,
            by,
            before,
        });
        if let Some(owner) = device_of(before.address) {
            let end = before.address + before.bytes;
            let range = self.reached.entry(owner).or_insert(before.address..end);
            *range = range.start.min(before.address)..range.end.max(end);
        }
    }
}
