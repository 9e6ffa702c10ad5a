//! Memory pools.

use super::{export, put, take};
use crate::driver::codes;
use crate::driver::driver;
use crate::driver::pools::Pool;

/// Attributes by their number in the driver's header; the first three are 32-bit flags.
const FLAGS: i32 = 3;
const THRESHOLD: i32 = 4;
const RESERVED: i32 = 5;
const RESERVED_HIGH: i32 = 6;
const USED: i32 = 7;
const USED_HIGH: i32 = 8;

/// The head of `CUmemPoolProps`: allocation type, handle types, location type and id.
type Properties = [i32; 4];

/// `CUmemAccessDesc`: location type and id, rights.
type Access = [i32; 3];
const READ_WRITE: i32 = 3;

export! {
    fn cuMemPoolCreate(pool: *mut u64, properties: *const Properties) {
        let [_, _, _, device] = take(properties)?;
        let device = super::valid_device(device)?;
        let mut world = driver().world();
        let id = world.handle();
        world.pools.insert(id, Pool { device, reuse: [1; 3], ..Pool::default() });
        put(pool, id)
    }
    fn cuMemPoolDestroy(pool: u64) {
        let mut world = driver().world();
        if world.cards.iter().any(|c| c.default_pool == pool) {
            return Err(codes::ERROR_INVALID_VALUE);
        }
        world.pools.remove(&pool).map(|_| ()).ok_or(codes::ERROR_INVALID_VALUE)
    }
    fn cuMemPoolSetAttribute(pool: u64, attribute: i32, value: *const u64) {
        let mut world = driver().world();
        let pool = world.pools.get_mut(&pool).ok_or(codes::ERROR_INVALID_VALUE)?;
        match attribute {
            1..=FLAGS => pool.reuse[attribute as usize - 1] = take(value.cast::<u32>())?,
            THRESHOLD => pool.threshold = take(value)?,
            // High-water marks can only be set back.
            RESERVED_HIGH if take(value)? == 0 => pool.reserved_high = pool.reserved,
            USED_HIGH if take(value)? == 0 => pool.used_high = pool.used,
            _ => return Err(codes::ERROR_INVALID_VALUE),
        }
        Ok(())
    }
    fn cuMemPoolGetAttribute(pool: u64, attribute: i32, value: *mut u64) {
        let world = driver().world();
        let pool = world.pools.get(&pool).ok_or(codes::ERROR_INVALID_VALUE)?;
        let number = match attribute {
            1..=FLAGS => return put(value.cast::<u32>(), pool.reuse[attribute as usize - 1]),
            THRESHOLD => pool.threshold,
            RESERVED => pool.reserved,
            RESERVED_HIGH => pool.reserved_high,
            USED => pool.used,
            USED_HIGH => pool.used_high,
            _ => return Err(codes::ERROR_INVALID_VALUE),
        };
        put(value, number)
    }
    fn cuMemPoolTrimTo(pool: u64, keep: usize) {
        let mut world = driver().world();
        world.pools.get_mut(&pool).ok_or(codes::ERROR_INVALID_VALUE)?.trim(keep as u64);
        Ok(())
    }
    fn cuMemPoolSetAccess(pool: u64, map: *const Access, count: usize) {
        let mut world = driver().world();
        for at in 0..count {
            let [_, device, rights] = take(map.wrapping_add(at))?;
            let reader = super::valid_device(device)?;
            let found = world.pools.get_mut(&pool).ok_or(codes::ERROR_INVALID_VALUE)?;
            if reader == found.device {
                continue;
            }
            if !driver().config.peer_access {
                return Err(codes::ERROR_PEER_ACCESS_UNSUPPORTED);
            }
            found.readers &= !(1 << reader);
            found.readers |= u64::from(rights != 0) << reader;
        }
        let readers = world.pools.get(&pool).ok_or(codes::ERROR_INVALID_VALUE)?.readers;
        let mine = world.allocations.iter().filter(|(_, a)| a.pool == Some(pool));
        for address in mine.map(|(address, _)| *address).collect::<Vec<_>>() {
            world.space.share(address, readers);
        }
        Ok(())
    }
    fn cuMemPoolGetAccess(rights: *mut i32, pool: u64, location: *const [i32; 2]) {
        let [_, device] = take(location)?;
        let device = super::valid_device(device)?;
        let world = driver().world();
        let pool = world.pools.get(&pool).ok_or(codes::ERROR_INVALID_VALUE)?;
        let reads = device == pool.device || pool.readers >> device & 1 != 0;
        put(rights, if reads { READ_WRITE } else { 0 })
    }
}
