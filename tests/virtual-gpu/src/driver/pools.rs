//! How much of a card is taken: allocations of its own, and what memory pools hold.

const MIB: u64 = 1 << 20;
/// Pools take memory from the card in pieces.
const PIECE: u64 = 32 * MIB;
const FINE_PIECE: u64 = 2 * MIB;
const GRAIN: u64 = 512;

#[derive(Clone, Debug, Default)]
pub struct Pool {
    pub device: usize,
    pub used: u64,
    pub used_high: u64,
    pub reserved: u64,
    pub reserved_high: u64,
    /// What the pool may keep when the device is synchronised.
    pub threshold: u64,
    pub reuse: [u32; 3],
    /// Other devices that may use its memory, one bit each.
    pub readers: u64,
}

pub fn rounded(bytes: u64) -> u64 {
    bytes.next_multiple_of(GRAIN).max(GRAIN)
}

impl Pool {
    /// Takes memory for an allocation; `free` is what the card still has. False if that is not enough.
    pub fn take(&mut self, bytes: u64, free: u64) -> bool {
        let wanted = self.used + rounded(bytes);
        if wanted > self.reserved {
            let coarse = wanted.next_multiple_of(PIECE);
            let fine = wanted.next_multiple_of(FINE_PIECE);
            self.reserved = if coarse - self.reserved <= free {
                coarse
            } else if fine - self.reserved <= free {
                fine
            } else {
                return false;
            };
        }
        self.used = wanted;
        self.used_high = self.used_high.max(self.used);
        self.reserved_high = self.reserved_high.max(self.reserved);
        true
    }

    pub fn give(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(rounded(bytes));
    }

    /// Returns what is above `keep` and not used.
    pub fn trim(&mut self, keep: u64) {
        let needed = self.used.next_multiple_of(FINE_PIECE);
        self.reserved = self.reserved.min(needed.max(keep));
    }
}
