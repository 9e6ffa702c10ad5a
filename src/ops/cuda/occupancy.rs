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
