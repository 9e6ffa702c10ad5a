//! Occupancy, from threads and shared memory; registers are not known here.

use super::module::function_of;
use super::{export, put};
use crate::driver::driver;
use crate::driver::launched::{SYSTEM_SHARED, resident};

fn blocks(function: u64, threads: i32, dynamic: usize) -> Result<i32, i32> {
    let f = function_of(function)?;
    let device = &driver().config.device[f.device];
    Ok(resident(device, &f.kernel, threads.max(1) as u32, dynamic as u32) as i32)
}

fn best(
    function: u64,
    grid: *mut i32,
    block: *mut i32,
    limit: i32,
    dynamic: usize,
) -> Result<(), i32> {
    let f = function_of(function)?;
    let most = f.max_threads() as i32;
    let threads = if limit > 0 { limit.min(most) } else { most };
    put(block, threads)?;
    put(
        grid,
        blocks(function, threads, dynamic)?
            * driver().config.device[f.device].multiprocessors as i32,
    )
}

export! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(count: *mut i32, function: u64, threads: i32, dynamic: usize) {
        put(count, blocks(function, threads, dynamic)?)
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(count: *mut i32, function: u64, threads: i32, dynamic: usize, _flags: u32) {
        put(count, blocks(function, threads, dynamic)?)
    }
    fn cuOccupancyMaxPotentialBlockSize(grid: *mut i32, block: *mut i32, function: u64, _sizes: u64, dynamic: usize, limit: i32) {
        best(function, grid, block, limit, dynamic)
    }
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(grid: *mut i32, block: *mut i32, function: u64, _sizes: u64, dynamic: usize, limit: i32, _flags: u32) {
        best(function, grid, block, limit, dynamic)
    }
    fn cuOccupancyAvailableDynamicSMemPerBlock(bytes: *mut usize, function: u64, blocks: i32, _threads: i32) {
        let f = function_of(function)?;
        let device = &driver().config.device[f.device];
        let each = (device.shared_kib_per_multiprocessor << 10) / blocks.max(1) as u32;
        let left = each.saturating_sub(SYSTEM_SHARED + f.kernel.shared_bytes as u32);
        put(bytes, left.min(device.shared_kib_per_block << 10) as usize)
    }
}
