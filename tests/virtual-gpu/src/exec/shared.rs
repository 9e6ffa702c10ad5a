//! A block's shared memory, and a thread's local memory: poisoned when fresh, checked at each access.

use super::races::Races;

const POISON: u8 = 0xff;

pub struct Shared {
    bytes: Vec<u8>,
    written: Vec<bool>,
    pub races: Option<Races>,
}

/// Why an access was refused.
pub enum Refusal {
    OutOfBounds,
    Misaligned,
    NeverWritten,
}

impl Refusal {
    pub fn describe(&self, space: &str, address: u64, bytes: u64, size: usize) -> String {
        match self {
            Self::OutOfBounds => format!(
                "access of {bytes} bytes at {address:#x} of {space} memory, which has {size} bytes"
            ),
            Self::Misaligned => format!(
                "access of {bytes} bytes at {address:#x} of {space} memory is not aligned to its size"
            ),
            Self::NeverWritten => format!(
                "read of {bytes} bytes at {address:#x} of {space} memory, which were never written"
            ),
        }
    }
}

impl Shared {
    pub fn new(bytes: usize, races: bool) -> Self {
        Self {
            bytes: vec![POISON; bytes],
            written: vec![false; bytes],
            races: races.then(|| Races::new(bytes)),
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    fn range(&self, address: u64, bytes: u64) -> Result<usize, Refusal> {
        if address.saturating_add(bytes) > self.bytes.len() as u64 {
            return Err(Refusal::OutOfBounds);
        }
        if !address.is_multiple_of(bytes) {
            return Err(Refusal::Misaligned);
        }
        Ok(address as usize)
    }

    /// The value, and whether all of it was written.
    pub fn read(&self, address: u64, bytes: u64) -> Result<(u64, bool), Refusal> {
        let at = self.range(address, bytes)?;
        let written = self.written[at..at + bytes as usize].iter().all(|w| *w);
        Ok((word(&self.bytes[at..at + bytes as usize]), written))
    }

    pub fn write(&mut self, address: u64, bytes: u64, value: u64) -> Result<(), Refusal> {
        let at = self.range(address, bytes)?;
        self.bytes[at..at + bytes as usize].copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
        self.written[at..at + bytes as usize].fill(true);
        Ok(())
    }
}

fn word(bytes: &[u8]) -> u64 {
    match bytes {
        [a] => (*a).into(),
        [a, b] => u16::from_le_bytes([*a, *b]).into(),
        [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]).into(),
        _ => {
            let mut all = [0; 8];
            all[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(all)
        }
    }
}

/// Local memory of a warp: each lane has its own.
pub struct Local {
    bytes: Vec<u8>,
    each: usize,
}

impl Local {
    pub fn new(each: usize, lanes: usize) -> Self {
        Self {
            bytes: vec![POISON; each * lanes],
            each,
        }
    }

    pub fn poison(&mut self) {
        self.bytes.fill(POISON);
    }

    pub fn each(&self) -> usize {
        self.each
    }

    fn range(&self, lane: usize, address: u64, bytes: u64) -> Result<usize, Refusal> {
        if address.saturating_add(bytes) > self.each as u64 {
            return Err(Refusal::OutOfBounds);
        }
        if !address.is_multiple_of(bytes) {
            return Err(Refusal::Misaligned);
        }
        Ok(lane * self.each + address as usize)
    }

    pub fn read(&self, lane: usize, address: u64, bytes: u64) -> Result<u64, Refusal> {
        let at = self.range(lane, address, bytes)?;
        Ok(word(&self.bytes[at..at + bytes as usize]))
    }

    pub fn write(
        &mut self,
        lane: usize,
        address: u64,
        bytes: u64,
        value: u64,
    ) -> Result<(), Refusal> {
        let at = self.range(lane, address, bytes)?;
        self.bytes[at..at + bytes as usize].copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
        Ok(())
    }
}
