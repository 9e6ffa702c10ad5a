//! Which bytes were written: one bit each, set by many threads.

use std::sync::atomic::{AtomicU8, Ordering};

use super::regions::Region;

/// Bytes of memory that a byte of the record stands for.
pub const BITS: u64 = 8;

fn cell(region: &Region, offset: u64) -> &AtomicU8 {
    // SAFETY: the bitmap has a bit for each byte of the region, and the offset is inside it.
    unsafe {
        &*region
            .written
            .add((offset / BITS) as usize)
            .cast::<AtomicU8>()
    }
}

pub fn written(region: &Region, offset: u64) -> bool {
    region.written.is_null()
        || cell(region, offset).load(Ordering::Relaxed) >> (offset % BITS) & 1 != 0
}

pub fn set(region: &Region, offset: u64, value: bool) {
    if region.written.is_null() {
        return;
    }
    let bit = 1u8 << (offset % BITS);
    if value {
        cell(region, offset).fetch_or(bit, Ordering::Relaxed);
    } else {
        cell(region, offset).fetch_and(!bit, Ordering::Relaxed);
    }
}

/// The bits of `offset..offset + bytes` in the bitmap's byte at `at`.
fn bits_at(at: u64, offset: u64, bytes: u64) -> u8 {
    let from = offset.max(at * BITS) - at * BITS;
    let to = (offset + bytes).min((at + 1) * BITS) - at * BITS;
    (((1u16 << to) - 1) & !((1u16 << from) - 1)) as u8
}

#[inline(always)]
pub fn mark(region: &Region, offset: u64, bytes: u64) {
    if region.written.is_null() {
        return;
    }
    for at in offset / BITS..(offset + bytes).div_ceil(BITS) {
        let bits = bits_at(at, offset, bytes);
        let cell = cell(region, at * BITS);
        if bits == u8::MAX {
            cell.store(bits, Ordering::Relaxed);
        } else if cell.load(Ordering::Relaxed) & bits != bits {
            cell.fetch_or(bits, Ordering::Relaxed);
        }
    }
}

#[inline(always)]
pub fn all_written(region: &Region, offset: u64, bytes: u64) -> bool {
    (offset / BITS..(offset + bytes).div_ceil(BITS)).all(|at| {
        let bits = bits_at(at, offset, bytes);
        cell(region, at * BITS).load(Ordering::Relaxed) & bits == bits
    })
}
