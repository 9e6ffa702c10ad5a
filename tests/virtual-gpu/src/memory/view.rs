//! Checked access to allocated ranges. Nothing else reads or writes device memory.

use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::chain::Chain;
use super::regions::{Fault, FaultKind, Map, Region};
use super::written::{BITS, all_written, mark};

/// What unwritten bytes read as.
pub const POISON: u8 = 0xff;

/// One user's sight of a map, with the region it used last.
#[derive(Clone)]
pub struct View {
    map: Arc<Map>,
    last: Region,
    /// The device that looks, and those whose contexts let it, one bit each; for the host all is in reach.
    pub looks: Option<(usize, u64)>,
    /// Is a read of unwritten bytes a fault, or poison?
    pub strict: bool,
    /// Unwritten bytes read so far.
    pub unwritten: u64,
    /// Where it is looked whether kernels that overlap disturb each other: that of who looks,
    pub chain: Option<Arc<Chain>>,
    /// and whether that has not waited yet.
    pub early: bool,
}

impl View {
    pub fn new(map: Arc<Map>) -> Self {
        let none = Region {
            start: 0,
            bytes: 0,
            host: null_mut(),
            written: null_mut(),
            device: None,
            readers: None,
        };
        Self {
            map,
            last: none,
            looks: None,
            strict: false,
            unwritten: 0,
            chain: None,
            early: false,
        }
    }

    /// The region that holds all of `address..address + bytes`.
    #[inline(always)]
    pub(super) fn locate(&mut self, address: u64, bytes: u64) -> Result<Region, Fault> {
        let offset = address.wrapping_sub(self.last.start);
        if offset < self.last.bytes && bytes <= self.last.bytes - offset {
            return Ok(self.last);
        }
        self.search(address, bytes)
    }

    #[cold]
    fn search(&mut self, address: u64, bytes: u64) -> Result<Region, Fault> {
        let fault = |kind, near| Fault {
            kind,
            address,
            bytes,
            near,
        };
        let Some(at) = self.map.before(address) else {
            return Err(fault(FaultKind::OutOfBounds, String::new()));
        };
        let region = self.map.regions[at];
        if address + bytes > region.end() {
            let near = format!(
                ": it begins {} bytes into an allocation of {} bytes at {:#x}",
                address - region.start,
                region.bytes,
                region.start
            );
            return Err(fault(FaultKind::OutOfBounds, near));
        }
        if let (Some((device, contexts)), Some(owner)) = (self.looks, region.device)
            && device != owner
            && region
                .readers
                .map_or(contexts >> owner, |readers| readers >> device)
                & 1
                == 0
        {
            return Err(fault(FaultKind::OtherDevice, String::new()));
        }
        self.last = region;
        Ok(region)
    }

    /// Notes an access where kernels may overlap.
    #[inline(always)]
    pub fn touch(&self, address: u64, bytes: u64, writes: bool) -> Result<(), Fault> {
        match &self.chain {
            Some(chain) if !chain.touch(address, bytes, writes, self.early) => Err(Fault {
                kind: FaultKind::Early,
                address,
                bytes,
                near: String::new(),
            }),
            _ => Ok(()),
        }
    }

    /// One value of 1, 2, 4 or 8 bytes.
    #[inline(always)]
    pub fn read(&mut self, address: u64, bytes: u64) -> Result<u64, Fault> {
        let region = self.locate(address, bytes)?;
        self.touch(address, bytes, false)?;
        if !address.is_multiple_of(bytes) {
            return Err(Fault {
                kind: FaultKind::Misaligned,
                address,
                bytes,
                near: String::new(),
            });
        }
        let offset = address - region.start;
        // SAFETY: `locate` found the range inside a region; it is aligned, as regions are to more than 8.
        let value = unsafe {
            let at = region.host.add(offset as usize);
            match bytes {
                1 => (*at.cast::<AtomicU8>()).load(Ordering::Relaxed).into(),
                2 => (*at.cast::<AtomicU16>()).load(Ordering::Relaxed).into(),
                4 => (*at.cast::<AtomicU32>()).load(Ordering::Relaxed).into(),
                _ => (*at.cast::<AtomicU64>()).load(Ordering::Relaxed),
            }
        };
        if region.written.is_null() {
            return Ok(value);
        }
        // SAFETY: the bitmap has a bit for each byte of the region; the value's bits lie in one byte of it.
        let map = unsafe {
            (*region
                .written
                .add((offset / BITS) as usize)
                .cast::<AtomicU8>())
            .load(Ordering::Relaxed)
        };
        let wanted = ((1u16 << bytes) - 1) as u8;
        let have = map >> (offset % BITS) & wanted;
        if have == wanted {
            Ok(value)
        } else {
            self.poisoned(value, have, address, bytes)
        }
    }

    /// As `read`, but whatever is there, written or not.
    pub fn peek(&mut self, address: u64, bytes: u64) -> Result<u64, Fault> {
        let mut out = [0; 8];
        let region = self.locate(address, bytes)?;
        let offset = (address - region.start) as usize;
        // SAFETY: `locate` found the range inside a region; each byte is read whole.
        let byte = |at: usize| unsafe {
            (*region.host.add(offset + at).cast::<AtomicU8>()).load(Ordering::Relaxed)
        };
        out.iter_mut()
            .enumerate()
            .take(bytes as usize)
            .for_each(|(at, b)| *b = byte(at));
        Ok(u64::from_le_bytes(out))
    }

    /// Could this be written?
    pub fn check(&mut self, address: u64, bytes: u64) -> Result<(), Fault> {
        self.locate(address, bytes)?;
        if address.is_multiple_of(bytes) {
            return Ok(());
        }
        Err(Fault {
            kind: FaultKind::Misaligned,
            address,
            bytes,
            near: String::new(),
        })
    }

    #[cold]
    fn poisoned(&mut self, value: u64, have: u8, address: u64, bytes: u64) -> Result<u64, Fault> {
        self.unwritten += bytes - u64::from(have.count_ones());
        if self.strict {
            return Err(Fault {
                kind: FaultKind::NeverWritten,
                address,
                bytes,
                near: String::new(),
            });
        }
        let mut out = value.to_le_bytes();
        for (at, byte) in out.iter_mut().enumerate().take(bytes as usize) {
            if have >> at & 1 == 0 {
                *byte = POISON;
            }
        }
        Ok(u64::from_le_bytes(out))
    }

    #[inline(always)]
    pub fn write(&mut self, address: u64, bytes: u64, value: u64) -> Result<(), Fault> {
        let region = self.locate(address, bytes)?;
        self.touch(address, bytes, true)?;
        if !address.is_multiple_of(bytes) {
            return Err(Fault {
                kind: FaultKind::Misaligned,
                address,
                bytes,
                near: String::new(),
            });
        }
        let offset = address - region.start;
        // SAFETY: as in `read`.
        unsafe {
            let at = region.host.add(offset as usize);
            match bytes {
                1 => (*at.cast::<AtomicU8>()).store(value as u8, Ordering::Relaxed),
                2 => (*at.cast::<AtomicU16>()).store(value as u16, Ordering::Relaxed),
                4 => (*at.cast::<AtomicU32>()).store(value as u32, Ordering::Relaxed),
                _ => (*at.cast::<AtomicU64>()).store(value, Ordering::Relaxed),
            }
        }
        mark(&region, offset, bytes);
        Ok(())
    }

    /// Replaces a value of 2, 4 or 8 bytes by `change` of it, as one step. Returns the value before.
    pub fn update(
        &mut self,
        address: u64,
        bytes: u64,
        change: impl Fn(u64) -> u64,
    ) -> Result<u64, Fault> {
        self.read(address, bytes)?; // bounds, alignment, poison
        self.touch(address, bytes, true)?;
        let region = self.locate(address, bytes)?;
        let offset = address - region.start;
        macro_rules! swap {
            ($atomic:ty, $t:ty, $at:expr) => {{
                let cell = &*$at.cast::<$atomic>();
                let mut before = cell.load(Ordering::SeqCst);
                loop {
                    let after = change(before.into()) as $t;
                    match cell.compare_exchange_weak(
                        before,
                        after,
                        Ordering::SeqCst,
                        Ordering::SeqCst,
                    ) {
                        Ok(_) => break before.into(),
                        Err(now) => before = now,
                    }
                }
            }};
        }
        // SAFETY: as in `read`.
        let before = unsafe {
            let at = region.host.add(offset as usize);
            match bytes {
                2 => swap!(AtomicU16, u16, at),
                4 => swap!(AtomicU32, u32, at),
                _ => swap!(AtomicU64, u64, at),
            }
        };
        mark(&region, offset, bytes);
        Ok(before)
    }

    /// Consecutive values of one size for a whole warp; `None` where one by one is needed.
    #[inline(always)]
    pub fn read_row(&mut self, address: u64, bytes: u64, out: &mut [u64]) -> Result<bool, Fault> {
        let total = bytes * out.len() as u64;
        let region = self.locate(address, total)?;
        self.touch(address, total, false)?;
        let offset = address - region.start;
        if !address.is_multiple_of(bytes)
            || !region.written.is_null() && !all_written(&region, offset, total)
        {
            return Ok(false);
        }
        // SAFETY: the whole row lies in the region and is aligned.
        unsafe {
            let at = region.host.add(offset as usize);
            match bytes {
                1 => out.iter_mut().enumerate().for_each(|(i, v)| {
                    *v = (*at.add(i).cast::<AtomicU8>())
                        .load(Ordering::Relaxed)
                        .into()
                }),
                2 => out.iter_mut().enumerate().for_each(|(i, v)| {
                    *v = (*at.cast::<AtomicU16>().add(i))
                        .load(Ordering::Relaxed)
                        .into()
                }),
                4 => out.iter_mut().enumerate().for_each(|(i, v)| {
                    *v = (*at.cast::<AtomicU32>().add(i))
                        .load(Ordering::Relaxed)
                        .into()
                }),
                _ => out.iter_mut().enumerate().for_each(|(i, v)| {
                    *v = (*at.cast::<AtomicU64>().add(i)).load(Ordering::Relaxed)
                }),
            }
        }
        Ok(true)
    }

    pub fn write_row(&mut self, address: u64, bytes: u64, values: &[u64]) -> Result<bool, Fault> {
        let total = bytes * values.len() as u64;
        let region = self.locate(address, total)?;
        self.touch(address, total, true)?;
        let offset = address - region.start;
        if !address.is_multiple_of(bytes) {
            return Ok(false);
        }
        // SAFETY: as in `read_row`.
        unsafe {
            let at = region.host.add(offset as usize);
            match bytes {
                1 => values.iter().enumerate().for_each(|(i, v)| {
                    (*at.add(i).cast::<AtomicU8>()).store(*v as u8, Ordering::Relaxed)
                }),
                2 => values.iter().enumerate().for_each(|(i, v)| {
                    (*at.cast::<AtomicU16>().add(i)).store(*v as u16, Ordering::Relaxed)
                }),
                4 => values.iter().enumerate().for_each(|(i, v)| {
                    (*at.cast::<AtomicU32>().add(i)).store(*v as u32, Ordering::Relaxed)
                }),
                _ => values.iter().enumerate().for_each(|(i, v)| {
                    (*at.cast::<AtomicU64>().add(i)).store(*v, Ordering::Relaxed)
                }),
            }
        }
        mark(&region, offset, total);
        Ok(true)
    }
}
