//! One block: its warps take turns between barriers, and it rests where all of them wait for others.

use super::barrier::{Arrival, BARRIERS, Reduce};
use super::counters::Counters;
use super::fault::{Broken, Cause, KernelFault};
use super::grid::Launch;
use super::kernel::{Kernel, Special};
use super::poll::Look;
use super::races::Clocks;
use super::registers::{ALL, LANES, Lane, Registers};
use super::shared::{Local, Shared};
use super::sight::{Near, Sight};
use super::warp::{Stop, Warp};
use crate::memory::View;

/// What the warps of a block share.
pub struct Scene<'a> {
    pub kernel: &'a Kernel,
    pub launch: &'a Launch<'a>,
    pub shared: Shared,
    pub view: View,
    pub counters: Counters,
    pub clocks: Option<Clocks>,
    pub sight: Sight,
    pub near: Near,
    pub block: [u32; 3],
}

impl Scene<'_> {
    pub fn check_time(&self) -> Result<(), Broken> {
        let limit = self.launch.limits.instructions;
        if self.counters.warp_instructions > limit {
            return Err(Broken::new(
                Cause::Timeout,
                format!("more than {limit} instructions: the kernel does not seem to end"),
            ));
        }
        Ok(())
    }
}

/// Bits of a block's random number that must be zero from here on for it to give way: one time in four.
const GIVES_WAY: u32 = 62;

#[derive(Clone, Default)]
struct Barrier {
    expected: Option<u32>,
    arrived: u32,
    waiting: Vec<usize>,
    all: Vec<usize>,
    reduce: Vec<(usize, Reduce, u32, u32)>,
}

/// Registers of each warp before its first instruction, but for the block's number.
pub struct Template {
    warps: Vec<(Registers, u32)>,
}

/// A small generator: order must differ by seed, nothing more. Its state is never zero.
pub fn roll(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for last in (1..items.len()).rev() {
        items.swap(last, (roll(&mut state) % (last as u64 + 1)) as usize);
    }
}

impl Template {
    pub fn new(kernel: &Kernel, launch: &Launch) -> Self {
        let [x, y, z] = launch.block;
        let threads = x * y * z;
        let count = threads.div_ceil(LANES as u32);
        let mut plain = Registers::new(kernel.rows, kernel.predicates);
        for (slot, wide, bits) in &kernel.constants {
            plain.set_bits(*slot, *wide, &[*bits; LANES], ALL);
        }
        let warps = (0..count).map(|warp| {
            let mut registers = plain.clone();
            for (special, slot) in &kernel.specials {
                let values = std::array::from_fn(|lane| {
                    let thread = warp * LANES as u32 + lane as u32;
                    let bit = 1u32 << lane;
                    match special {
                        Special::Thread(axis) => position(thread, launch.block)[*axis],
                        Special::Threads(axis) => launch.block[*axis],
                        Special::Blocks(axis) => launch.grid[*axis],
                        Special::Block(_) => 0,
                        Special::Lane => lane as u32,
                        Special::Warp => warp,
                        Special::Warps => count,
                        Special::LanesEqual => bit,
                        Special::LanesBelow => bit - 1,
                        Special::LanesUpTo => bit | (bit - 1),
                        Special::LanesAbove => !(bit | (bit - 1)),
                        Special::LanesFrom => !(bit - 1),
                        Special::DynamicShared => launch.dynamic_shared,
                        Special::TotalShared => launch.dynamic_shared + kernel.shared_bytes as u32,
                        Special::Multiprocessor | Special::Grid => 0,
                        Special::Multiprocessors => launch.limits.multiprocessors,
                    }
                });
                u32::store(&mut registers, *slot, values, ALL);
            }
            (registers, (threads - warp * LANES as u32).min(LANES as u32))
        });
        Self {
            warps: warps.collect(),
        }
    }

    /// Room for a block's warps, used for one block after another.
    pub fn room(&self, kernel: &Kernel) -> Vec<Warp> {
        let make = |(id, (registers, _)): (usize, &(Registers, u32))| {
            Warp::new(id, registers.clone(), Local::new(kernel.local_bytes, LANES))
        };
        self.warps.iter().enumerate().map(make).collect()
    }

    fn start(&self, warps: &mut [Warp], kernel: &Kernel, block: [u32; 3]) {
        for (warp, (registers, lanes)) in warps.iter_mut().zip(&self.warps) {
            warp.start(registers, *lanes);
            for (special, slot) in &kernel.specials {
                if let Special::Block(axis) = special {
                    u32::store(&mut warp.registers, *slot, [block[*axis]; LANES], ALL);
                }
            }
        }
    }
}

pub fn position(thread: u32, [x, y, _]: [u32; 3]) -> [u32; 3] {
    [thread % x, thread / x % y, thread / (x * y)]
}

/// A block between its first instruction and its last: its warps may wait for what others write, and it is
/// then resumed later.
pub struct Block {
    number: u32,
    pub warps: Vec<Warp>,
    shared: Shared,
    clocks: Option<Clocks>,
    sight: Sight,
    barriers: Vec<Barrier>,
    /// Warps that may run, and how many have not ended.
    ready: Vec<usize>,
    alive: usize,
    round: u64,
    instructions: u64,
}

/// Why a block does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    Ended,
    /// All warps wait for others; did any do something before?
    Waits {
        moved: bool,
    },
}

impl Block {
    /// Begins in the room of a block that ended.
    pub fn new(
        number: u32,
        template: &Template,
        mut warps: Vec<Warp>,
        kernel: &Kernel,
        launch: &Launch,
    ) -> Self {
        template.start(&mut warps, kernel, position(number, launch.grid));
        let shared = kernel.shared_bytes + launch.dynamic_shared as usize;
        let races = launch.limits.races;
        Self {
            number,
            shared: Shared::new(shared, races),
            clocks: races.then(|| Clocks::new(warps.len())),
            sight: Sight::default(),
            barriers: vec![Barrier::default(); BARRIERS],
            ready: (0..warps.len()).collect(),
            alive: warps.len(),
            warps,
            round: launch.seed ^ u64::from(number),
            instructions: 0,
        }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    /// What its warps poll.
    pub fn looks(&self) -> impl Iterator<Item = Look> {
        self.ready.iter().map(|id| self.warps[*id].poll.last)
    }

    pub fn resume(&mut self, scene: &mut Scene) -> Result<Rest, KernelFault> {
        scene.block = position(self.number, scene.launch.grid);
        let swap = |block: &mut Self, scene: &mut Scene| {
            std::mem::swap(&mut block.shared, &mut scene.shared);
            std::mem::swap(&mut block.clocks, &mut scene.clocks);
            std::mem::swap(&mut block.sight, &mut scene.sight);
        };
        swap(self, scene);
        let others = std::mem::replace(&mut scene.counters.warp_instructions, self.instructions);
        let rest = self.run(scene);
        let now = scene.counters.warp_instructions;
        scene.counters.warp_instructions = others + (now - self.instructions);
        self.instructions = now;
        swap(self, scene);
        rest
    }

    fn run(&mut self, scene: &mut Scene) -> Result<Rest, KernelFault> {
        let mut ever = false;
        while self.alive > 0 {
            self.round = self
                .round
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(1);
            shuffle(&mut self.ready, self.round);
            if self.ready.is_empty() {
                return Err(place(scene, self.stuck(), 0, 0));
            }
            let (mut moved, mut polled) = (false, false);
            let mut next = Vec::new();
            for id in std::mem::take(&mut self.ready) {
                let stop = self.warps[id]
                    .run(scene)
                    .map_err(|(broken, line)| place(scene, broken, line, id))?;
                polled |= matches!(stop, Stop::Poll);
                moved |= !matches!(stop, Stop::Poll) || self.warps[id].poll.moved();
                match stop {
                    Stop::Turn | Stop::Poll => next.push(id),
                    Stop::Ended => self.alive -= 1,
                    Stop::Barrier(arrival) => {
                        let waits = arrival.waits;
                        self.barriers[arrival.id]
                            .arrive(id, arrival)
                            .map_err(|b| place(scene, b, 0, id))?;
                        if !waits {
                            next.push(id);
                        }
                    }
                }
                scene.check_time().map_err(|b| place(scene, b, 0, id))?;
                open_full(&mut self.barriers, &mut self.warps, scene, &mut next);
            }
            self.ready = next;
            ever |= moved;
            // Whoever polls and finds something lets others in too, now and then.
            if !moved || polled && self.round >> GIVES_WAY == 0 {
                return Ok(Rest::Waits { moved: ever });
            }
        }
        let overlaps = scene.view.chain.as_ref().is_some_and(|c| c.overlaps);
        if overlaps && self.warps.iter().all(|warp| warp.waited == 0) {
            let message = "the block ends without griddepcontrol.wait: the next kernel waits for this one alone, and not for those in front";
            return Err(place(scene, Broken::new(Cause::Misuse, message), 0, 0));
        }
        Ok(Rest::Ended)
    }

    fn stuck(&self) -> Broken {
        let stuck = self
            .barriers
            .iter()
            .position(|b| !b.waiting.is_empty())
            .unwrap_or(0);
        let b = &self.barriers[stuck];
        let wanted = b.expected.map_or("all".to_owned(), |n| n.to_string());
        let message = format!(
            "{} threads wait at barrier {stuck} for ever: it wants {wanted} threads",
            b.arrived
        );
        Broken::new(Cause::Misuse, message)
    }
}

/// Opens the barriers that have all they wait for.
fn open_full(
    barriers: &mut [Barrier],
    warps: &mut [Warp],
    scene: &mut Scene,
    next: &mut Vec<usize>,
) {
    for barrier in barriers.iter_mut().filter(|b| b.arrived > 0) {
        let wanted = barrier
            .expected
            .unwrap_or_else(|| warps.iter().map(|w| (!w.ended).count_ones()).sum());
        if barrier.arrived >= wanted {
            let open = std::mem::take(barrier);
            open.reduce(warps);
            if let Some(clocks) = &mut scene.clocks {
                clocks.barrier(&open.all);
            }
            if let Some(remote) = scene.launch.remote
                && scene.sight.used()
            {
                scene.sight.barrier(remote, scene.block, &open.all);
            }
            next.extend(open.waiting);
        }
    }
}

impl Barrier {
    fn arrive(&mut self, warp: usize, arrival: Arrival) -> Result<(), Broken> {
        if self.arrived > 0 && self.expected != arrival.expected {
            let message = format!(
                "barrier {} is used with a count of {:?} and of {:?} at the same time",
                arrival.id, self.expected, arrival.expected
            );
            return Err(Broken::new(Cause::Misuse, message));
        }
        self.expected = arrival.expected;
        self.arrived += arrival.threads;
        self.all.push(warp);
        if arrival.waits {
            self.waiting.push(warp);
        }
        if let Some((how, bits, result)) = arrival.reduce {
            self.reduce.push((warp, how, bits, result));
        }
        Ok(())
    }

    /// The results of `bar.red`.
    fn reduce(&self, warps: &mut [Warp]) {
        let count: u32 = self
            .reduce
            .iter()
            .map(|(_, _, bits, _)| bits.count_ones())
            .sum();
        for (warp, how, _, result) in &self.reduce {
            let live = !warps[*warp].ended;
            let truth = match how {
                Reduce::Count => {
                    u32::store(&mut warps[*warp].registers, *result, [count; LANES], live);
                    continue;
                }
                Reduce::All => count == self.arrived,
                Reduce::Any => count > 0,
            };
            let predicate = &mut warps[*warp].registers.predicates[*result as usize];
            *predicate = if truth {
                *predicate | live
            } else {
                *predicate & !live
            };
        }
    }
}

fn place(scene: &Scene, broken: Broken, line: u32, warp: usize) -> KernelFault {
    let thread = broken
        .lane
        .map(|lane| position((warp * LANES + lane) as u32, scene.launch.block));
    KernelFault {
        cause: broken.cause,
        message: broken.message,
        kernel: scene.kernel.name.clone(),
        line,
        block: scene.block,
        thread,
    }
}
