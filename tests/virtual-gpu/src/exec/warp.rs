//! One warp: its lanes run in lockstep along paths that split at branches and join where they meet.

use super::block::Scene;
use super::copy_async::Copies;
use super::fault::{Broken, Cause};
use super::kernel::{Action, Guard};
use super::poll::Poll;
use super::registers::{ALL, LANES, Registers, Slot};
use super::shared::Local;
use super::{access, atomic, barrier::Arrival, copy_async, exchange, matrix, remote};

/// Backward branches that a path may take while another one waits for its turn.
const PATIENCE: u32 = 10_000;
/// Backward branches after which other warps get a turn: this one may wait for them.
const TURN: u32 = 100_000;

/// Why a path does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    No,
    /// Until these lanes have come to the same instruction.
    Lanes(u32),
    /// In `bar.warp.sync`, until these lanes are in one.
    Barrier(u32),
}

#[derive(Clone, Copy, Debug)]
struct Path {
    at: usize,
    mask: u32,
    wait: Wait,
}

pub struct Warp {
    pub id: usize,
    pub registers: Registers,
    pub local: Local,
    pub copies: Copies,
    pub poll: Poll,
    /// Lanes that have ended, or never were.
    pub ended: u32,
    /// Lanes that have waited for the kernels in front.
    pub waited: u32,
    paths: Vec<Path>,
    /// A path has run long enough: another one is next.
    rotate: bool,
}

pub enum Stop {
    Ended,
    Barrier(Arrival),
    Turn,
    /// It waits for what others write.
    Poll,
}

impl Warp {
    pub fn new(id: usize, registers: Registers, local: Local) -> Self {
        Self {
            id,
            registers,
            local,
            copies: Copies::default(),
            poll: Poll::default(),
            ended: ALL,
            waited: 0,
            paths: Vec::new(),
            rotate: false,
        }
    }

    /// Back to the first instruction, with so many lanes.
    pub fn start(&mut self, registers: &Registers, lanes: u32) {
        let mask = if lanes as usize >= LANES {
            ALL
        } else {
            (1 << lanes) - 1
        };
        self.registers.copy_from(registers);
        self.local.poison();
        self.copies = Copies::default();
        self.poll = Poll::default();
        self.ended = !mask;
        self.waited = 0;
        self.paths.clear();
        self.paths.push(Path {
            at: 0,
            mask,
            wait: Wait::No,
        });
        self.rotate = false;
    }

    /// The first lane's value of a mask operand.
    fn uniform(&self, slot: Slot, mask: u32) -> u32 {
        self.registers
            .bit(slot, false, mask.trailing_zeros() as usize) as u32
    }

    fn ready(&self, path: &Path) -> bool {
        match path.wait {
            Wait::No => true,
            Wait::Lanes(needed) => needed & !self.ended & !path.mask == 0,
            Wait::Barrier(_) => false,
        }
    }

    /// Takes the path to run next, joined with all others at its instruction.
    fn choose(&mut self) -> Result<Option<Path>, Broken> {
        // Join first: what waits for lanes may have them now.
        let mut first = 0;
        while first < self.paths.len() {
            let mut second = first + 1;
            while second < self.paths.len() {
                let (a, b) = (self.paths[first], self.paths[second]);
                let barrier =
                    matches!(a.wait, Wait::Barrier(_)) || matches!(b.wait, Wait::Barrier(_));
                if a.at == b.at && (!barrier || a.wait == b.wait) {
                    self.paths[first].mask |= b.mask;
                    if !barrier && a.wait != b.wait {
                        self.paths[first].wait = Wait::No; // it is judged anew at its instruction
                    }
                    self.paths.swap_remove(second);
                } else {
                    second += 1;
                }
            }
            first += 1;
        }
        let rotate = std::mem::take(&mut self.rotate);
        let runnable = || self.paths.iter().enumerate().filter(|(_, p)| self.ready(p));
        let found = if rotate {
            runnable().max_by_key(|(_, p)| p.at)
        } else {
            runnable().min_by_key(|(_, p)| p.at)
        };
        if let Some((index, _)) = found {
            let mut path = self.paths.swap_remove(index);
            path.wait = Wait::No;
            return Ok(Some(path));
        }
        if self.paths.is_empty() {
            return Ok(None);
        }
        if self.release_barrier() {
            return self.choose();
        }
        let stuck = self.paths.iter().fold(String::new(), |text, p| {
            format!("{text} lanes {:#010x} {:?};", p.mask, p.wait)
        });
        Err(Broken::new(
            Cause::Misuse,
            format!(
                "lanes of warp {} wait for each other for ever:{stuck}",
                self.id
            ),
        ))
    }

    /// Opens a `bar.warp.sync` that all its lanes are in, wherever they are.
    fn release_barrier(&mut self) -> bool {
        for path in &self.paths {
            let Wait::Barrier(needed) = path.wait else {
                continue;
            };
            let inside = self
                .paths
                .iter()
                .filter(|p| p.wait == Wait::Barrier(needed))
                .fold(0, |m, p| m | p.mask);
            if needed & !self.ended & !inside == 0 {
                for path in self
                    .paths
                    .iter_mut()
                    .filter(|p| p.wait == Wait::Barrier(needed))
                {
                    path.wait = Wait::No;
                    path.at += 1;
                }
                return true;
            }
        }
        false
    }

    /// Runs until the warp ends, meets a barrier of the block, or has had its turn.
    pub fn run(&mut self, scene: &mut Scene) -> Result<Stop, (Broken, u32)> {
        let mut turns = 0;
        let rotated = self.rotate;
        loop {
            let line = self
                .paths
                .first()
                .map_or(0, |p| scene.kernel.code[p.at].line);
            let Some(mut path) = self.choose().map_err(|b| (b, line))? else {
                return Ok(Stop::Ended);
            };
            let mut spins = 0;
            let unfair = self.paths.iter().any(|p| self.ready(p) && p.at < path.at);
            loop {
                let at = path.at;
                let instruction = &scene.kernel.code[at];
                let mask = match instruction.guard {
                    Guard::Always => path.mask,
                    Guard::If(slot) => path.mask & self.registers.predicates[slot as usize],
                    Guard::Unless(slot) => path.mask & !self.registers.predicates[slot as usize],
                };
                scene.counters.warp_instructions += 1;
                scene.counters.thread_instructions += u64::from(mask.count_ones());
                match &instruction.action {
                    Action::Alu(run, args) => {
                        if mask != 0 {
                            // SAFETY: the machine was found able before the first kernel was run.
                            unsafe { run(&mut self.registers, args, mask) };
                        }
                        path.at += 1;
                    }
                    Action::Branch(target) => {
                        if mask == path.mask {
                            path.at = *target;
                        } else {
                            path.at += 1;
                            if mask != 0 {
                                path.mask &= !mask;
                                self.paths.push(Path {
                                    at: *target,
                                    mask,
                                    wait: Wait::No,
                                });
                            }
                        }
                        if *target <= at && mask != 0 {
                            turns += 1;
                            spins += 1;
                            if self.poll.round(instruction.line) {
                                // Its other paths may have what it waits for.
                                self.rotate = !self.paths.is_empty() && !rotated;
                                self.paths.push(path);
                                return Ok(Stop::Poll);
                            }
                            if turns > TURN {
                                self.paths.push(path);
                                scene.check_time().map_err(|b| (b, instruction.line))?;
                                return Ok(Stop::Turn);
                            }
                            if spins > PATIENCE && !self.paths.is_empty() {
                                self.rotate = true;
                                self.paths.push(path);
                                break;
                            }
                        }
                    }
                    Action::Exit => {
                        self.ended |= mask;
                        path.mask &= !mask;
                        path.at += 1;
                        if path.mask == 0 {
                            break;
                        }
                    }
                    _ if mask == 0 => path.at += 1,
                    action => match self
                        .act(scene, action, &mut path, mask)
                        .map_err(|b| (b, instruction.line))?
                    {
                        Next::Go => {}
                        Next::Choose => break,
                        Next::Stop(stop) => return Ok(stop),
                    },
                }
                if !self.paths.is_empty() && self.should_yield(&path, unfair) {
                    self.paths.push(path);
                    break;
                }
            }
        }
    }

    /// Has this path met another, or passed one that can run?
    fn should_yield(&self, path: &Path, unfair: bool) -> bool {
        self.paths
            .iter()
            .any(|p| p.at == path.at || !unfair && p.at < path.at && self.ready(p))
    }

    /// Everything but arithmetic and branches, for at least one lane.
    fn act(
        &mut self,
        scene: &mut Scene,
        action: &Action,
        path: &mut Path,
        mask: u32,
    ) -> Result<Next, Broken> {
        // What lanes do together waits for all of them.
        let together = match action {
            Action::Exchange(x) => x
                .mask
                .map_or(Some(ALL), |slot| Some(self.uniform(slot, mask))),
            Action::Vote(x) => x.mask.map(|slot| self.uniform(slot, mask)),
            Action::WarpBarrier(slot) => Some(self.uniform(*slot, mask)),
            Action::LoadMatrix(_) | Action::Product(_) | Action::Barrier(_) => Some(ALL),
            _ => None,
        };
        if let Some(needed) = together {
            if mask & !needed != 0 {
                let lane = (mask & !needed).trailing_zeros() as usize;
                let message = format!(
                    "the lane is not in the mask {needed:#010x} of the instruction it executes"
                );
                return Err(Broken::at(Cause::Misuse, lane, message));
            }
            // Lanes that the guard holds back go on.
            if mask != path.mask {
                self.paths.push(Path {
                    at: path.at + 1,
                    mask: path.mask & !mask,
                    wait: Wait::No,
                });
                path.mask = mask;
            }
            if let Action::WarpBarrier(_) = action {
                if let Some(clocks) = &mut scene.clocks {
                    clocks.warp_barrier(self.id);
                }
                remote::warp_barrier(scene, self.id, needed);
                if needed & !self.ended & !mask != 0 {
                    path.wait = Wait::Barrier(needed);
                    self.paths.push(*path);
                    return Ok(Next::Choose);
                }
            } else if needed & !self.ended & !mask != 0 {
                path.wait = Wait::Lanes(needed);
                self.paths.push(*path);
                return Ok(Next::Choose);
            }
        }
        path.at += 1;
        let constant = matches!(action, Action::Load(transfer) if transfer.constant);
        scene.view.early = constant || mask & !self.waited != 0;
        match action {
            Action::Load(transfer) => access::load(self, scene, transfer, mask)?,
            Action::Store(transfer) => access::store(self, scene, transfer, mask)?,
            Action::Atomic(form) => atomic::run(self, scene, form, mask)?,
            Action::Exchange(form) => exchange::exchange(self, form, mask),
            Action::Vote(form) => exchange::vote(self, form, mask),
            Action::LoadMatrix(form) => matrix::load(self, scene, form, mask)?,
            Action::Product(form) => matrix::product(&mut self.registers, form),
            Action::CopyAsync(form) => copy_async::start(self, scene, form, mask)?,
            Action::CopyCommit => self.copies.commit(mask),
            Action::CopyWait(open) => copy_async::wait(self, scene, *open, mask)?,
            Action::Barrier(form) => {
                let arrival = form.arrive(self, mask)?;
                self.paths.push(*path);
                return Ok(Next::Stop(Stop::Barrier(arrival)));
            }
            Action::Clock(slot, wide) => {
                let now = [scene.counters.warp_instructions; LANES];
                self.registers.set_bits(*slot, *wide, &now, mask);
            }
            Action::Trap => {
                return Err(Broken::at(
                    Cause::Trap,
                    mask.trailing_zeros() as usize,
                    "trap",
                ));
            }
            Action::Assert(at) => {
                let lane = mask.trailing_zeros() as usize;
                let message = access::assertion(self, scene, lane, *at);
                return Err(Broken::at(
                    Cause::Assert,
                    lane,
                    format!("assertion failed: {message}"),
                ));
            }
            Action::Fence(order) => remote::fence(self, scene, *order, mask),
            Action::Sleep => self.poll.sleep(),
            Action::AwaitFront => self.waited |= mask,
            Action::Print | Action::WarpBarrier(_) | Action::Nothing => {}
            Action::Alu(..) | Action::Branch(_) | Action::Exit => {}
        }
        Ok(Next::Go)
    }
}

enum Next {
    Go,
    Choose,
    Stop(Stop),
}
