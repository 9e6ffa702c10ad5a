//! What a kernel did to memory: requests, bytes, sectors and bank conflicts.

use super::registers::LANES;

const SECTOR: u64 = 32;
const BANKS: u64 = 32;
const BANK_BYTES: u64 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Instructions of a warp.
    pub requests: u64,
    pub bytes: u64,
    /// Sectors of 32 bytes touched, each request for itself.
    pub sectors: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub launches: u64,
    /// That may begin before what is in front has ended.
    pub overlapping: u64,
    /// Instructions of warps, and of threads.
    pub warp_instructions: u64,
    pub thread_instructions: u64,
    pub loads: Traffic,
    pub stores: Traffic,
    pub shared_requests: u64,
    /// Passes over the banks beyond the first, summed over requests.
    pub bank_conflicts: u64,
    pub unwritten_bytes_read: u64,
}

impl Counters {
    /// To and from memory, in whole sectors.
    pub fn bytes(&self) -> u64 {
        SECTOR * (self.loads.sectors + self.stores.sectors)
    }

    pub fn add(&mut self, other: &Self) {
        self.launches += other.launches;
        self.overlapping += other.overlapping;
        self.warp_instructions += other.warp_instructions;
        self.thread_instructions += other.thread_instructions;
        for (mine, theirs) in [
            (&mut self.loads, &other.loads),
            (&mut self.stores, &other.stores),
        ] {
            mine.requests += theirs.requests;
            mine.bytes += theirs.bytes;
            mine.sectors += theirs.sectors;
        }
        self.shared_requests += other.shared_requests;
        self.bank_conflicts += other.bank_conflicts;
        self.unwritten_bytes_read += other.unwritten_bytes_read;
    }
}

impl Traffic {
    /// A warp's access: `bytes` from each address in the mask.
    pub fn count(&mut self, addresses: &[u64; LANES], mask: u32, bytes: u64) {
        self.requests += 1;
        self.bytes += bytes * u64::from(mask.count_ones());
        let mut sectors = [0u64; 2 * LANES];
        let mut found = 0;
        let mut last = u64::MAX;
        for (lane, address) in addresses.iter().enumerate() {
            if mask >> lane & 1 == 0 {
                continue;
            }
            for sector in address / SECTOR..=(address + bytes - 1) / SECTOR {
                // Lanes mostly walk upwards.
                if sector != last && found < sectors.len() && !sectors[..found].contains(&sector) {
                    sectors[found] = sector;
                    found += 1;
                }
                last = sector;
            }
        }
        self.sectors += found as u64;
    }
}

/// Passes beyond the first that a shared access needs. Wide accesses go in halves or quarters of a warp.
pub fn bank_conflicts(addresses: &[u64; LANES], mask: u32, bytes: u64) -> u64 {
    let group = (LANES as u64 * BANK_BYTES / bytes.max(BANK_BYTES)) as usize;
    let mut extra = 0;
    for first in (0..LANES).step_by(group) {
        let mut words: Vec<u64> = Vec::with_capacity(LANES);
        for (lane, address) in addresses.iter().enumerate().skip(first).take(group) {
            if mask >> lane & 1 == 0 {
                continue;
            }
            for word in address / BANK_BYTES..(address + bytes).div_ceil(BANK_BYTES) {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
        }
        let mut load = [0u64; BANKS as usize];
        for word in words {
            load[(word % BANKS) as usize] += 1;
        }
        extra += load.into_iter().max().unwrap_or(0).saturating_sub(1);
    }
    extra
}
