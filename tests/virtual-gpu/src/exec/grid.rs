//! A launch: blocks in shuffled order, shared out over the machine's cores. Blocks that wait for others rest, and
//! as many as the card holds are begun at once.

use std::sync::{Mutex, MutexGuard};

use super::block::{Block, Rest, Scene, Template, position, roll, shuffle};
use super::counters::Counters;
use super::fault::{Cause, KernelFault};
use super::kernel::Kernel;
use super::poll::Look;
use super::shared::Shared;
use super::sight::{Near, Sight};
use super::under_way::Remote;
use super::warp::Warp;
use crate::memory::View;

/// Threads from which a second core is worth starting.
const WORTH_SHARING: u64 = 2048;
/// Passes without a move after which a launch alone waits for ever: each path of a warp has had its turn.
const IN_VAIN: u32 = 4;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Instructions of warps in one block before it counts as endless.
    pub instructions: u64,
    pub multiprocessors: u32,
    pub workers: usize,
    /// Blocks that the card holds at once.
    pub resident: usize,
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
    /// Its stores to memory that is not its device's own. Without, they arrive at once.
    pub remote: Option<&'a Remote>,
}

/// A launch that has begun.
pub struct Grid {
    template: Template,
    /// Blocks in the order in which they begin.
    order: Vec<u32>,
    blocks: Mutex<Blocks>,
}

struct Blocks {
    begun: usize,
    live: usize,
    /// To be looked at in this pass, and what has been and still waits.
    due: Vec<Block>,
    resting: Vec<Block>,
    moved: bool,
    random: u64,
    counters: Counters,
    fault: Option<KernelFault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Done,
    /// Blocks wait for others; did any do something in this pass?
    Waits {
        moved: bool,
    },
}

impl Grid {
    pub fn new(kernel: &Kernel, launch: &Launch) -> Self {
        let count = launch.grid.iter().product::<u32>();
        let mut order: Vec<u32> = (0..count).collect();
        shuffle(&mut order, launch.seed);
        let blocks = Blocks {
            begun: 0,
            live: 0,
            due: Vec::new(),
            resting: Vec::new(),
            moved: true,
            random: launch.seed | 1,
            counters: Counters {
                launches: 1,
                ..Counters::default()
            },
            fault: None,
        };
        Self {
            template: Template::new(kernel, launch),
            order,
            blocks: Mutex::new(blocks),
        }
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Runs every block until it ends or waits.
    pub fn resume(
        &self,
        kernel: &Kernel,
        launch: &Launch,
        view: &View,
    ) -> Result<Progress, KernelFault> {
        let many = {
            let mut blocks = self.blocks();
            blocks.due = std::mem::take(&mut blocks.resting);
            let seed = roll(&mut blocks.random);
            shuffle(&mut blocks.due, seed);
            let threads = launch.block.iter().map(|n| u64::from(*n)).product::<u64>();
            let open = self.order.len() - blocks.begun + blocks.due.len();
            let worth = open > 1 && open as u64 * threads >= WORTH_SHARING;
            // Whoever only looks again needs no second core.
            std::mem::take(&mut blocks.moved) && worth
        };
        let workers = launch.limits.workers.min(self.order.len());
        if many && workers > 1 {
            std::thread::scope(|scope| {
                for _ in 1..workers {
                    scope.spawn(|| self.work(kernel, launch, view));
                }
                self.work(kernel, launch, view);
            });
        } else {
            self.work(kernel, launch, view);
        }
        let mut blocks = self.blocks();
        if let Some(fault) = blocks.fault.take() {
            return Err(fault);
        }
        // What was stored is on its way while the blocks wait, and before the launch is over.
        let settled = launch.remote.map(|r| r.settle(&mut view.clone()));
        let (arrived, open) = settled.unwrap_or_default();
        if blocks.live == 0 && blocks.begun == self.order.len() && !open {
            return Ok(Progress::Done);
        }
        blocks.moved |= arrived;
        Ok(Progress::Waits {
            moved: blocks.moved,
        })
    }

    /// One core's part of a pass.
    fn work(&self, kernel: &Kernel, launch: &Launch, view: &View) {
        let mut scene = Scene {
            kernel,
            launch,
            shared: Shared::new(0, false),
            view: view.clone(),
            counters: Counters::default(),
            clocks: None,
            sight: Sight::default(),
            near: launch.remote.map_or_else(Near::everything, Near::of),
            block: [0; 3],
        };
        let mut room: Option<Vec<Warp>> = None;
        while let Some(next) = self.next(launch.limits.resident) {
            let mut block = match next {
                Next::Resting(block) => *block,
                Next::New(number) => {
                    let warps = room.take().unwrap_or_else(|| self.template.room(kernel));
                    Block::new(number, &self.template, warps, kernel, launch)
                }
            };
            let rest = block.resume(&mut scene);
            let mut blocks = self.blocks();
            match rest {
                Ok(Rest::Ended) => {
                    room = Some(block.warps);
                    blocks.live -= 1;
                    blocks.moved = true;
                }
                Ok(Rest::Waits { moved }) => {
                    blocks.moved |= moved;
                    blocks.resting.push(block);
                }
                Err(fault) => {
                    blocks.fault.get_or_insert(fault);
                }
            }
        }
        scene.counters.unwritten_bytes_read = scene.view.unwritten - view.unwritten;
        self.blocks().counters.add(&scene.counters);
    }

    fn next(&self, resident: usize) -> Option<Next> {
        let mut blocks = self.blocks();
        if blocks.fault.is_some() {
            return None;
        }
        let fresh = blocks.begun < self.order.len() && blocks.live < resident;
        let resting = !blocks.due.is_empty() && (!fresh || roll(&mut blocks.random) & 1 == 0);
        if resting {
            return blocks.due.pop().map(|block| Next::Resting(Box::new(block)));
        }
        if !fresh {
            return None;
        }
        let number = self.order[blocks.begun];
        blocks.begun += 1;
        blocks.live += 1;
        Some(Next::New(number))
    }

    pub fn counters(&self) -> Counters {
        self.blocks().counters
    }

    /// What its blocks wait for, as a fault.
    pub fn waits(&self, kernel: &Kernel, launch: &Launch) -> KernelFault {
        let blocks = self.blocks();
        let mut looks: Vec<(u32, Look)> = Vec::new();
        for block in &blocks.resting {
            looks.extend(block.looks().map(|look| (block.number(), look)));
        }
        looks.sort_unstable();
        let (number, look) = looks.first().copied().unwrap_or_default();
        let mut message = format!(
            "it polls {:#x}, where it finds {:#x}, for ever",
            look.address, look.value
        );
        looks.dedup_by_key(|(_, look)| look.address);
        if looks.len() > 1 {
            message += &format!(", and {} addresses more", looks.len() - 1);
        }
        if blocks.begun < self.order.len() {
            message += &format!(
                "; {} of {} blocks have begun: the card holds no more at once",
                blocks.begun,
                self.order.len()
            );
        }
        KernelFault {
            cause: Cause::Timeout,
            message,
            kernel: kernel.name.clone(),
            line: look.line,
            block: position(number, launch.grid),
            thread: None,
        }
    }
}

enum Next {
    Resting(Box<Block>),
    New(u32),
}

/// Runs a launch to its end, with nothing beside it.
pub fn run(kernel: &Kernel, launch: &Launch, view: &View) -> Result<Counters, KernelFault> {
    let grid = Grid::new(kernel, launch);
    let mut in_vain = 0;
    while in_vain < IN_VAIN {
        match grid.resume(kernel, launch, view)? {
            Progress::Done => return Ok(grid.counters()),
            Progress::Waits { moved: true } => in_vain = 0,
            Progress::Waits { moved: false } => in_vain += 1,
        }
    }
    Err(grid.waits(kernel, launch))
}
