//! How many threads a multiprocessor holds at once: what a card's driver says of an own kernel; of a library's, and where a
//! virtual GPU knows no registers, by the rules that NVIDIA's occupancy calculator has for compute capability 8.0 to 9.0.

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

/// Of blocks of `block` threads with `registers` each and `shared_bytes`; `None`: the device does not tell its limits.
pub fn of(gpu: &Gpu, block: u32, registers: u32, shared_bytes: u32) -> Option<f64> {
    let multiprocessor = Multiprocessor::of(gpu.stream.context()).ok()?;
    Some(multiprocessor.occupancy(block, registers, shared_bytes))
}

/// Of blocks of `function`, by the driver; `None`: it does not tell.
fn told(gpu: &Gpu, function: &CudaFunction, grid: Grid) -> Option<f64> {
    let multiprocessor = Multiprocessor::of(gpu.stream.context()).ok()?;
    let shared = grid.shared as usize;
    let blocks =
        function.occupancy_max_active_blocks_per_multiprocessor(grid.threads, shared, None);
    let threads = blocks.ok()? * grid.threads.next_multiple_of(WARP);
    Some(f64::from(threads) / f64::from(multiprocessor.threads))
}

/// Of a launch of `function`. A virtual GPU makes up its registers: those of the machine code in this build,
/// `compiled`, stand for them.
pub fn shape(gpu: &Gpu, function: &CudaFunction, compiled: Option<u32>, grid: Grid) -> LaunchShape {
    let declared = function.shared_size_bytes().unwrap_or_default() as u32;
    let is_virtual = Gpu::is_virtual(gpu.ordinal()).unwrap_or_default();
    let shared_bytes = declared + grid.shared;
    let (registers, occupancy) = match is_virtual {
        true => {
            let of = |registers| of(gpu, grid.threads, registers, shared_bytes);
            (compiled, compiled.and_then(of))
        }
        false => {
            let registers = function.num_regs().ok();
            (registers.map(|r| r as u32), told(gpu, function, grid))
        }
    };
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
    use candle_core::cuda::cudarc::nvrtc::Ptx;

    use super::*;

    /// 4 KiB of shared memory declared.
    const PTX: &str = ".version 7.0\n.target sm_80\n.address_size 64\n
        .shared .align 16 .b8 declared[4096];
        .visible .entry nothing(.param .u64 out) {
            .reg .b32 %r<2>; .reg .b64 %rd<3>;
            ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; st.shared.u32 [declared], %r1;
            ld.shared.u32 %r1, [declared]; st.global.u32 [%rd1], %r1; ret;
        }";

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

    /// A virtual GPU's driver knows no registers.
    #[test]
    fn the_driver_says_the_same() {
        if Gpu::count().unwrap_or_default() == 0 {
            eprintln!("SKIPPED: no GPU");
            return;
        }
        let gpu = Gpu::open(0).unwrap();
        let module = gpu.stream.context().load_module(Ptx::from_src(PTX));
        let function = module.unwrap().load_function("nothing").unwrap();
        let registers = match Gpu::is_virtual(0).unwrap() {
            true => 0,
            false => function.num_regs().unwrap() as u32,
        };
        let declared = function.shared_size_bytes().unwrap() as u32;
        assert_eq!(declared, 4 * KIB);
        let mut seen = Vec::new();
        for threads in [32, 33, 96, 128, 256, 512, 1000, 1024] {
            for shared in [0, 1, 4 * KIB, 12 * KIB, 28 * KIB, 44 * KIB] {
                let grid = Grid {
                    shared,
                    ..Grid::row(1, threads)
                };
                let by_driver = told(&gpu, &function, grid).unwrap();
                let calculated = of(&gpu, threads, registers, declared + shared).unwrap();
                assert_eq!(by_driver, calculated, "{threads} threads, {shared} bytes");
                seen.push(calculated);
            }
        }
        assert!(seen.contains(&1.0) && seen.iter().any(|share| *share < 0.1));
    }
}
