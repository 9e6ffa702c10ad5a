//! Allocation.

use super::{device_now, export, put, stream_now, valid_device};
use crate::driver::engine::Until;
use crate::driver::kernels::{allocate, release};
use crate::driver::work::Work;
use crate::driver::{capture, codes, driver};
use crate::memory::device_of;

/// Tries, then waits for what streams still give back, and tries again.
fn patient(device: usize, bytes: usize, pool: Option<u64>) -> Result<u64, i32> {
    if bytes == 0 {
        return Err(codes::ERROR_INVALID_VALUE);
    }
    let driver = driver();
    let first = allocate(&mut driver.world(), driver, device, bytes as u64, pool);
    if let Some(address) = first {
        return Ok(address);
    }
    let mut world = driver.world();
    if !world.captures.is_empty() {
        return Err(codes::ERROR_OUT_OF_MEMORY);
    }
    for pool in world.pools.values_mut().filter(|p| p.device == device) {
        pool.trim(0);
    }
    driver.drain(world, Until::Device(device))?;
    let mut world = driver.world();
    for pool in world.pools.values_mut().filter(|p| p.device == device) {
        pool.trim(0);
    }
    // The second try is no new allocation to whoever counts them.
    world.cards[device].allocated -= 1;
    allocate(&mut world, driver, device, bytes as u64, pool).ok_or(codes::ERROR_OUT_OF_MEMORY)
}

fn pooled(address: *mut u64, bytes: usize, pool: Option<u64>, stream: u64) -> Result<(), i32> {
    let (device, stream) = stream_now(stream)?;
    // Unlike `cuMemAlloc`, which refuses to: candle's own tests count on it.
    if bytes == 0 {
        return put(address, 0);
    }
    let pool = pool.unwrap_or(driver().world().cards[device].pool);
    let found = patient(device, bytes, Some(pool))?;
    let mut world = driver().world();
    if let Some(id) = world.streams.get(&stream).and_then(|s| s.capture)
        && let Some(capture) = world.captures.get_mut(&id)
    {
        capture.allocations.push(found);
    }
    put(address, found)
}

export! {
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize) {
        let device = device_now()?;
        driver().unlocked(device, "cuMemAlloc")?;
        capture::refuse_unsafe(&mut driver().world())?;
        put(address, patient(device, bytes, None)?)
    }
    fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) {
        pooled(address, bytes, None, stream)
    }
    fn cuMemAllocFromPoolAsync(address: *mut u64, bytes: usize, pool: u64, stream: u64) {
        pooled(address, bytes, Some(pool), stream)
    }
    fn cuMemFree_v2(address: u64) {
        if address == 0 {
            return Ok(());
        }
        driver().unlocked(device_now()?, "cuMemFree")?;
        let mut world = driver().world();
        capture::refuse_unsafe(&mut world)?;
        let owner = device_of(address).ok_or(codes::ERROR_INVALID_VALUE)?;
        // It waits for the whole device, as the real one does.
        driver().drain(world, Until::Device(owner))?;
        if release(&mut driver().world(), address) { Ok(()) } else { Err(codes::ERROR_INVALID_VALUE) }
    }
    fn cuMemFreeAsync(address: u64, stream: u64) {
        if address == 0 {
            return Ok(());
        }
        let (_, stream) = stream_now(stream)?;
        let known = driver().world().allocations.contains_key(&address);
        if !known {
            return Err(codes::ERROR_INVALID_VALUE);
        }
        // Within a capture the memory belongs to the graph, which gives it back at its end.
        let capturing = driver().world().streams.get(&stream).is_some_and(|s| s.capture.is_some());
        if capturing { Ok(()) } else { driver().enqueue(stream, Work::Free(address)) }
    }
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let device = device_now()?;
        let free_now = driver().world().free_memory(device, driver());
        put(free, free_now as usize)?;
        put(total, driver().config.device[device].memory() as usize)
    }
    fn cuMemHostAlloc(address: *mut u64, bytes: usize, _flags: u32) {
        driver().unlocked(device_now()?, "an allocation of pinned memory")?;
        let pinned = driver().world().space.pin(bytes as u64).map_err(|_| codes::ERROR_OUT_OF_MEMORY)?;
        put(address, pinned)
    }
    fn cuMemAllocHost_v2(address: *mut u64, bytes: usize) {
        driver().unlocked(device_now()?, "an allocation of pinned memory")?;
        let pinned = driver().world().space.pin(bytes as u64).map_err(|_| codes::ERROR_OUT_OF_MEMORY)?;
        put(address, pinned)
    }
    fn cuMemAllocManaged(address: *mut u64, bytes: usize, _flags: u32) {
        driver().unlocked(device_now()?, "an allocation of pinned memory")?;
        let pinned = driver().world().space.pin(bytes as u64).map_err(|_| codes::ERROR_OUT_OF_MEMORY)?;
        put(address, pinned)
    }
    fn cuMemFreeHost(address: u64) {
        if let Some(device) = crate::driver::current() {
            driver().unlocked(device, "cuMemFreeHost")?;
        }
        // What streams still read must not go away.
        for device in 0..driver().config.device.len() {
            let world = driver().world();
            if world.captures.is_empty() && !world.cards[device].hangs {
                let _ = driver().drain(world, Until::Device(device));
            }
        }
        if driver().world().space.unpin(address) { Ok(()) } else { Err(codes::ERROR_INVALID_VALUE) }
    }
    fn cuMemHostGetDevicePointer_v2(device_address: *mut u64, address: u64, _flags: u32) {
        let known = driver().world().space.map().containing(address).is_some_and(|r| r.device.is_none());
        if known { put(device_address, address) } else { Err(codes::ERROR_INVALID_VALUE) }
    }
    fn cuMemHostRegister_v2(address: u64, bytes: usize, _flags: u32) {
        let mut world = driver().world();
        if world.space.map().containing(address).is_some() {
            return Err(codes::ERROR_HOST_MEMORY_ALREADY_REGISTERED);
        }
        world.space.register(address, bytes as u64);
        Ok(())
    }
    fn cuMemHostUnregister(address: u64) {
        if driver().world().space.unregister(address) { Ok(()) } else { Err(codes::ERROR_HOST_MEMORY_NOT_REGISTERED) }
    }
    fn cuMemGetAddressRange_v2(start: *mut u64, bytes: *mut usize, address: u64) {
        let map = driver().world().space.map();
        let region = map.containing(address).ok_or(codes::ERROR_NOT_FOUND)?;
        super::offer(start, region.start);
        super::offer(bytes, region.bytes as usize);
        Ok(())
    }
    /// Only the kind of memory, its device and its pointer.
    fn cuPointerGetAttribute(value: *mut u64, attribute: i32, address: u64) {
        const KIND: i32 = 2;
        const POINTER: i32 = 3;
        const ORDINAL: i32 = 9;
        let map = driver().world().space.map();
        let region = map.containing(address).ok_or(codes::ERROR_INVALID_VALUE)?;
        match attribute {
            KIND => put(value.cast::<u32>(), if region.device.is_some() { 2 } else { 1 }),
            POINTER => put(value, address),
            ORDINAL => put(value.cast::<i32>(), region.device.unwrap_or(0) as i32),
            _ => Err(codes::ERROR_NOT_SUPPORTED),
        }
    }
    fn cuMemAdvise_v2(_address: u64, _bytes: usize, _advice: i32, _location: u64) {
        Ok(())
    }
    fn cuMemPrefetchAsync_v2(_address: u64, _bytes: usize, _location: u64, _flags: u32, _stream: u64) {
        Ok(())
    }
    fn cuStreamAttachMemAsync(_stream: u64, _address: u64, _bytes: usize, _flags: u32) {
        Ok(())
    }
    fn cuDeviceGetDefaultMemPool(pool: *mut u64, device: i32) {
        let device = valid_device(device)?;
        put(pool, driver().world().cards[device].default_pool)
    }
    fn cuDeviceGetMemPool(pool: *mut u64, device: i32) {
        let device = valid_device(device)?;
        put(pool, driver().world().cards[device].pool)
    }
    fn cuDeviceSetMemPool(device: i32, pool: u64) {
        let device = valid_device(device)?;
        let mut world = driver().world();
        if world.pools.get(&pool).is_none_or(|p| p.device != device) {
            return Err(codes::ERROR_INVALID_VALUE);
        }
        world.cards[device].pool = pool;
        Ok(())
    }
}
