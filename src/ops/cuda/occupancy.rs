//! How many threads a multiprocessor holds at once: by the rules that NVIDIA's occupancy calculator has for compute
//! capability 8.0 to 9.0.

use candle_core::Result;
use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaContext, CudaFunction, sys::CUdevice_attribute};

use super::device::Gpu;
use super::launches::Grid;
use crate::ground::launch::LaunchShape;

const WARP: u32 = 32;
/// Parts of a multiprocessor, each with its registers.
const PARTS: u32 = 4;
/// Registers of a warp come in multiples of it,
const REGISTER_UNIT: u32 = 256;
/// and bytes of shared memory of a block in multiples of this.
const SHARED_UNIT: u32 = 128;

/// What one multiprocessor has for all blocks on it.
#[derive(Debug, Clone, Copy)]
pub struct Multiprocessor {
    pub registers: u32,
    pub threads: u32,
    pub blocks: u32,
    /// Bytes,
    pub shared: u32,
    /// and those that the system keeps of each block.
    pub system_shared: u32,
}

impl Multiprocessor {
    fn of(context: &CudaContext) -> Result<Self> {
        use CUdevice_attribute as A;
        let attribute = |which| Result::Ok(context.attribute(which).w()? as u32);
        Ok(Self {
            registers: attribute(A::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR)?,
            threads: attribute(A::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
            blocks: attribute(A::CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR)?,
            shared: attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
            system_shared: attribute(A::CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK)?,
        })
    }

    /// Threads at once of those that there is room for at most, of blocks of `block` threads with `registers` each and
    /// `shared_bytes`.
    pub fn occupancy(&self, block: u32, registers: u32, shared_bytes: u32) -> f64 {
        let warps = block.div_ceil(WARP).max(1);
        let of_warp = (registers * WARP).next_multiple_of(REGISTER_UNIT);
        let by_registers = match of_warp {
            0 => self.blocks,
            of_warp => self.registers / PARTS / of_warp * PARTS / warps,
        };
        let of_block = (shared_bytes + self.system_shared).next_multiple_of(SHARED_UNIT);
        let by_shared = match of_block {
            0 => self.blocks,
            of_block => self.shared / of_block,
        };
        let by_threads = self.threads / (warps * WARP);
        let blocks = self.blocks.min(by_threads).min(by_registers).min(by_shared);
        f64::from(blocks * warps * WARP) / f64::from(self.threads)
    }
}

/// Of a launch of `function`. A virtual GPU makes up its registers: those of the machine code in this build,
/// `compiled`, stand for them.
pub fn shape(gpu: &Gpu, function: &CudaFunction, compiled: Option<u32>, grid: Grid) -> LaunchShape {
    let declared = function.shared_size_bytes().unwrap_or_default() as u32;
    let is_virtual = Gpu::is_virtual(gpu.ordinal()).unwrap_or_default();
    let registers = match is_virtual {
        true => compiled,
        false => function.num_regs().ok().map(|registers| registers as u32),
    };
    let shared_bytes = declared + grid.shared;
    let occupancy = registers.and_then(|registers| {
        let multiprocessor = Multiprocessor::of(gpu.stream.context()).ok()?;
        Some(multiprocessor.occupancy(grid.threads, registers, shared_bytes))
    });
    LaunchShape {
        grid: grid.blocks.into(),
        block: grid.threads,
        registers,
        shared_bytes,
        occupancy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u32 = 1 << 10;
    /// Of a 4090.
    const ADA: Multiprocessor = Multiprocessor {
        registers: 64 * KIB,
        threads: 1536,
        blocks: 24,
        shared: 100 * KIB,
        system_shared: KIB,
    };
    /// Of an H100.
    const HOPPER: Multiprocessor = Multiprocessor {
        threads: 2048,
        blocks: 32,
        shared: 228 * KIB,
        ..ADA
    };

    /// Each by another limit; worked out by hand.
    #[test]
    fn what_runs_out_first_bounds_the_threads() {
        for (of, block, registers, shared, threads) in [
            // Three warps in each part of the registers.
            (ADA, 128, 168, 0, 384),
            (ADA, 128, 255, 0, 256),
            // Registers of a warp come in steps of 256.
            (ADA, 128, 169, 0, 256),
            (ADA, 512, 32, 48 * KIB, 1024),
            (ADA, 512, 32, 49 * KIB, 1024),
            (ADA, 512, 32, 50 * KIB, 512),
            (ADA, 32, 16, 0, 768),
            (ADA, 1024, 32, 0, 1024),
            (HOPPER, 1024, 64, 0, 1024),
            (HOPPER, 1024, 32, 0, 2048),
            (HOPPER, 100, 32, 0, 2048),
            (HOPPER, 128, 32, 227 * KIB, 128),
            // No such block can run.
            (ADA, 1024, 128, 0, 0),
        ] {
            let seen = of.occupancy(block, registers, shared);
            let expected = f64::from(threads) / f64::from(of.threads);
            assert_eq!(seen, expected, "{block} x {registers}, {shared} on {of:?}");
        }
    }
}
