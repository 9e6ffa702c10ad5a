//! Launches: work that begins in stream order and may wait for what others write.

use std::sync::Arc;

use super::config::Device;
use super::kernels::{Function, check};
use super::traced::Ran;
use super::work::{Begin, Begun, Failure, Progress};
use super::world::Count;
use super::{Driver, codes, faults};
use crate::exec::kernel::Kernel;
use crate::exec::under_way::Remote;
use crate::exec::{self, Cause, Grid, Launch, Limits};
use crate::memory::{Chain, Footprint};

const THREADS_PER_MULTIPROCESSOR: u32 = 1536;
const BLOCKS_PER_MULTIPROCESSOR: u32 = 24;
/// Shared memory that the system keeps of each block.
pub const SYSTEM_SHARED: u32 = 1 << 10;
const WARP: u32 = 32;
/// Compute capability from which kernels may overlap.
pub const OVERLAPS: u32 = 90;

/// What a launch asks for.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Dynamic shared memory.
    pub shared: u32,
    /// May it begin before what is in front has ended?
    pub overlaps: bool,
}

/// A launch as work for a stream; its parameters are taken now.
pub fn launch(
    driver: &Driver,
    function: &Arc<Function>,
    shape: Shape,
    params: Vec<u8>,
) -> Result<Begin, i32> {
    let Shape {
        grid,
        block,
        shared,
        overlaps,
    } = shape;
    check(driver, function, grid, block, shared)?;
    let (function, params) = (function.clone(), Arc::new(params));
    Ok(Arc::new(move |driver: &Driver, device: usize, front| {
        let seed = {
            let mut world = driver.world();
            world.cards[device].launches += 1;
            if let Some(trouble) = world.due(driver, device, Count::Launch) {
                return faults::strike(&mut world, device, trouble);
            }
            world.roll(usize::MAX) as u64
        };
        let config = &driver.config;
        let threads = block.iter().product();
        let each = resident(&config.device[device], &function.kernel, threads, shared);
        let limits = Limits {
            instructions: config.instructions,
            multiprocessors: config.device[device].multiprocessors,
            workers: config.workers,
            resident: (each * config.device[device].multiprocessors) as usize,
            races: config.races,
            strict: config.strict,
            traffic: config.traffic,
        };
        let remote = Remote::new(
            driver.bus.clone(),
            device,
            seed,
            (config.atomics, config.weak),
        );
        let launch = Launch {
            grid,
            block,
            dynamic_shared: shared,
            params: &params,
            seed,
            limits,
            remote: None,
        };
        let is_watched = config.races && config.device[device].compute >= OVERLAPS;
        Ok(Box::new(Launched {
            function: function.clone(),
            params: params.clone(),
            shape,
            chain: is_watched.then(|| Arc::new(Chain::new(overlaps, front))),
            seed,
            limits,
            remote,
            grid: Grid::new(&function.kernel, &launch),
        }))
    }))
}

/// A launch that runs.
struct Launched {
    function: Arc<Function>,
    params: Arc<Vec<u8>>,
    shape: Shape,
    /// Where races with kernels that it overlaps are looked for.
    chain: Option<Arc<Chain>>,
    seed: u64,
    limits: Limits,
    remote: Remote,
    grid: Grid,
}

impl Launched {
    fn launch(&self) -> Launch<'_> {
        Launch {
            grid: self.shape.grid,
            block: self.shape.block,
            dynamic_shared: self.shape.shared,
            params: &self.params,
            seed: self.seed,
            limits: self.limits,
            remote: Some(&self.remote),
        }
    }
}

impl Begun for Launched {
    fn resume(&mut self, driver: &Driver, device: usize) -> Result<Progress, Failure> {
        let kernel = &self.function.kernel;
        let mut view = driver.device_view(device);
        view.chain = self.chain.clone();
        let progress = self.grid.resume(kernel, &self.launch(), &view);
        let progress =
            progress.map_err(|fault| Failure::new(code(fault.cause), fault.to_string()))?;
        if let exec::Progress::Waits { moved } = progress {
            return Ok(Progress::Waits { moved });
        }
        let mut counters = self.grid.counters();
        counters.overlapping = u64::from(self.shape.overlaps);
        driver.count(device, &kernel.name, &counters);
        let Shape {
            grid,
            block,
            shared,
            ..
        } = self.shape;
        driver.ran(device, counters.warp_instructions, || Ran {
            name: kernel.name.clone(),
            grid,
            block,
            registers: 0,
            shared: [kernel.shared_bytes as u32, shared],
            bytes: counters.bytes(),
        });
        Ok(Progress::Done(counters.warp_instructions))
    }

    fn waits(&self) -> String {
        self.grid
            .waits(&self.function.kernel, &self.launch())
            .to_string()
    }

    fn left(&mut self) -> Footprint {
        let chain = self.chain.take().and_then(Arc::into_inner);
        chain.map_or_else(Footprint::default, |mut chain| chain.left())
    }
}

/// Blocks of a kernel that a multiprocessor holds at once; registers are not known here.
pub fn resident(device: &Device, kernel: &Kernel, threads: u32, dynamic: u32) -> u32 {
    let threads = threads.max(1).next_multiple_of(WARP);
    let shared = dynamic + kernel.shared_bytes as u32 + SYSTEM_SHARED;
    let by_shared = (device.shared_kib_per_multiprocessor << 10) / shared;
    (THREADS_PER_MULTIPROCESSOR / threads)
        .min(by_shared)
        .min(BLOCKS_PER_MULTIPROCESSOR)
}

fn code(cause: Cause) -> i32 {
    match cause {
        Cause::IllegalAddress => codes::ERROR_ILLEGAL_ADDRESS,
        Cause::Misaligned => codes::ERROR_MISALIGNED_ADDRESS,
        Cause::Assert => codes::ERROR_ASSERT,
        Cause::Timeout => codes::ERROR_LAUNCH_TIMEOUT,
        Cause::Unsupported => codes::ERROR_ILLEGAL_INSTRUCTION,
        Cause::Trap | Cause::Misuse => codes::ERROR_LAUNCH_FAILED,
    }
}
