//! A launch: blocks in shuffled order, shared out over the machine's cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::block::{self, Scene, Template, shuffle};
use super::counters::Counters;
use super::fault::KernelFault;
use super::kernel::Kernel;
use super::races::Clocks;
use super::registers::LANES;
use super::shared::Shared;
use crate::memory::View;

/// Threads from which a second core is worth starting.
const WORTH_SHARING: u64 = 2048;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Instructions of warps in one block before it counts as endless.
    pub instructions: u64,
    pub multiprocessors: u32,
    pub workers: usize,
    /// Look for races in shared memory.
    pub races: bool,
    /// Reads of shared memory that was never written are faults.
    pub strict: bool,
    /// Count sectors and bank conflicts.
    pub traffic: bool,
}

pub struct Launch<'a> {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub params: &'a [u8],
    pub seed: u64,
    pub limits: Limits,
}

pub fn run(kernel: &Kernel, launch: &Launch, view: &View) -> Result<Counters, KernelFault> {
    let [gx, gy, gz] = launch.grid.map(u64::from);
    let blocks = gx * gy * gz;
    let threads = launch.block.iter().map(|n| u64::from(*n)).product::<u64>();
    let mut order: Vec<u32> = (0..blocks as u32).collect();
    shuffle(&mut order, launch.seed);
    let template = Template::new(kernel, launch);
    let next = AtomicUsize::new(0);
    let outcome = Mutex::new((
        Counters {
            launches: 1,
            ..Counters::default()
        },
        None,
    ));
    let work = || {
        let mut scene = scene(kernel, launch, view.clone());
        let mut warps = template.room(kernel);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(block) = order.get(at) else { break };
            scene.block = block::position(*block, launch.grid);
            scene.shared = shared(kernel, launch);
            scene.clocks = clocks(launch);
            let before = scene.counters.warp_instructions;
            scene.counters.warp_instructions = 0;
            let result = block::run(
                &template,
                &mut warps,
                &mut scene,
                launch.seed ^ u64::from(*block),
            );
            scene.counters.warp_instructions += before;
            if let Err(fault) = result {
                next.store(order.len(), Ordering::Relaxed);
                let mut shared = outcome.lock().unwrap_or_else(|e| e.into_inner());
                shared.1.get_or_insert(fault);
                break;
            }
        }
        scene.counters.unwritten_bytes_read = scene.view.unwritten - view.unwritten;
        outcome
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .0
            .add(&scene.counters);
    };
    let workers = launch.limits.workers.min(blocks as usize);
    if workers > 1 && blocks * threads >= WORTH_SHARING {
        std::thread::scope(|scope| {
            for _ in 1..workers {
                scope.spawn(work);
            }
            work();
        });
    } else {
        work();
    }
    let (counters, fault) = outcome.into_inner().unwrap_or_else(|e| e.into_inner());
    fault.map_or(Ok(counters), Err)
}

fn shared(kernel: &Kernel, launch: &Launch) -> Shared {
    Shared::new(
        kernel.shared_bytes + launch.dynamic_shared as usize,
        launch.limits.races,
    )
}

fn clocks(launch: &Launch) -> Option<Clocks> {
    let threads: u32 = launch.block.iter().product();
    launch
        .limits
        .races
        .then(|| Clocks::new(threads.div_ceil(LANES as u32) as usize))
}

fn scene<'a>(kernel: &'a Kernel, launch: &'a Launch, view: View) -> Scene<'a> {
    Scene {
        kernel,
        launch,
        shared: Shared::new(0, false),
        view,
        counters: Counters::default(),
        clocks: None,
        block: [0; 3],
    }
}
