//! What ran on a device, and when, for whoever traces it.

use super::Driver;
use super::engine::LEAST_TIME;

/// A kernel that has run.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    pub name: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub registers: u16,
    /// Bytes of a block: declared, and asked for.
    pub shared: [u32; 2],
    /// Moved to and from memory, where traffic is counted.
    pub bytes: u64,
}

#[derive(Clone, Debug)]
pub struct Record {
    pub device: usize,
    pub ran: Ran,
    /// In pretended time.
    pub start: u64,
    pub end: u64,
}

impl Driver {
    /// Tells who traces of what has just run for so many nanoseconds, which are not yet added to the device's.
    pub fn ran(&self, device: usize, nanoseconds: u64, ran: impl FnOnce() -> Ran) {
        let Some(tell) = *self.tracer.lock().unwrap_or_else(|e| e.into_inner()) else {
            return;
        };
        let start = self.world().cards[device].nanoseconds;
        tell(Record {
            device,
            ran: ran(),
            start,
            end: start + nanoseconds.max(LEAST_TIME),
        });
    }
}
