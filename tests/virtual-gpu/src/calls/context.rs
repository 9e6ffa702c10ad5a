//! Primary contexts, one a device.

use super::{device_now, export, put, valid_device};
use crate::driver::engine::Until;
use crate::driver::{capture, codes, current, driver, set_current};

/// A context's handle is this and its device.
const BASE: u64 = 0xc0_0000;

pub(crate) fn device_of(context: u64) -> Result<Option<usize>, i32> {
    if context == 0 {
        return Ok(None);
    }
    let device = context
        .checked_sub(BASE)
        .ok_or(codes::ERROR_INVALID_CONTEXT)?;
    valid_device(device as i32)
        .map(Some)
        .map_err(|_| codes::ERROR_INVALID_CONTEXT)
}

/// The device at hand, and the bit of another one.
fn peer(context: u64) -> Result<(usize, u64), i32> {
    let device = device_now()?;
    match device_of(context)? {
        Some(other) if other != device => Ok((device, 1 << other)),
        _ => Err(codes::ERROR_INVALID_CONTEXT),
    }
}

export! {
    fn cuDevicePrimaryCtxRetain(context: *mut u64, device: i32) {
        let device = valid_device(device)?;
        driver().world().cards[device].retained += 1;
        put(context, BASE + device as u64)
    }
    fn cuDevicePrimaryCtxRelease_v2(device: i32) {
        let device = valid_device(device)?;
        let mut world = driver().world();
        let card = &mut world.cards[device];
        card.retained = card.retained.checked_sub(1).ok_or(codes::ERROR_INVALID_CONTEXT)?;
        Ok(())
    }
    /// The only way out of a failure.
    fn cuDevicePrimaryCtxReset_v2(device: i32) {
        let device = valid_device(device)?;
        driver().world().cards[device].error = None;
        Ok(())
    }
    fn cuDevicePrimaryCtxGetState(device: i32, flags: *mut u32, active: *mut i32) {
        let device = valid_device(device)?;
        put(flags, 0)?;
        put(active, i32::from(driver().world().cards[device].retained > 0))
    }
    fn cuDevicePrimaryCtxSetFlags_v2(device: i32, _flags: u32) {
        valid_device(device).map(|_| ())
    }
    fn cuCtxSetCurrent(context: u64) {
        set_current(device_of(context)?);
        Ok(())
    }
    fn cuCtxGetCurrent(context: *mut u64) {
        put(context, current().map_or(0, |d| BASE + d as u64))
    }
    fn cuCtxPushCurrent_v2(context: u64) {
        set_current(device_of(context)?);
        Ok(())
    }
    fn cuCtxPopCurrent_v2(context: *mut u64) {
        super::offer(context, current().map_or(0, |d| BASE + d as u64));
        set_current(None);
        Ok(())
    }
    fn cuCtxGetDevice(device: *mut i32) {
        put(device, current().ok_or(codes::ERROR_INVALID_CONTEXT)? as i32)
    }
    fn cuCtxDestroy_v2(context: u64) {
        device_of(context).map(|_| ())
    }
    fn cuCtxSynchronize() {
        let device = device_now()?;
        driver().unlocked(device, "cuCtxSynchronize")?;
        let mut world = driver().world();
        capture::refuse_unsafe(&mut world)?;
        driver().drain(world, Until::Device(device))?;
        driver().world().trim(device);
        Ok(())
    }
    fn cuCtxGetApiVersion(_context: u64, version: *mut u32) {
        put(version, 4)
    }
    fn cuCtxSetFlags(_flags: u32) {
        device_now().map(|_| ())
    }
    fn cuCtxGetFlags(flags: *mut u32) {
        put(flags, 0)
    }
    fn cuCtxGetStreamPriorityRange(least: *mut i32, greatest: *mut i32) {
        super::offer(least, 0);
        super::offer(greatest, -5);
        Ok(())
    }
    fn cuCtxSetLimit(_limit: i32, _value: usize) {
        device_now().map(|_| ())
    }
    fn cuCtxGetLimit(value: *mut usize, _limit: i32) {
        put(value, 0)
    }
    fn cuCtxGetCacheConfig(config: *mut i32) {
        put(config, 0)
    }
    fn cuCtxSetCacheConfig(_config: i32) {
        Ok(())
    }
    fn cuCtxEnablePeerAccess(context: u64, _flags: u32) {
        let (device, bit) = peer(context)?;
        if !driver().config.peer_access {
            return Err(codes::ERROR_PEER_ACCESS_UNSUPPORTED);
        }
        let peers = &mut driver().world().cards[device].peers;
        if *peers & bit != 0 {
            return Err(codes::ERROR_PEER_ACCESS_ALREADY_ENABLED);
        }
        *peers |= bit;
        Ok(())
    }
    fn cuCtxDisablePeerAccess(context: u64) {
        let (device, bit) = peer(context)?;
        let peers = &mut driver().world().cards[device].peers;
        if *peers & bit == 0 {
            return Err(codes::ERROR_PEER_ACCESS_NOT_ENABLED);
        }
        *peers &= !bit;
        Ok(())
    }
}
