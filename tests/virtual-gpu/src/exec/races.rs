//! Shared memory that two threads use without a barrier between them, at least one of them writing.

/// What a thread has seen: for each warp the last of its epochs that a barrier ordered before now.
pub struct Clocks {
    /// `seen[w][v]`: warp w has met warp v at v's epoch.
    seen: Vec<Vec<u32>>,
    /// Barriers of the warp alone.
    within: Vec<u32>,
}

impl Clocks {
    pub fn new(warps: usize) -> Self {
        let mut seen = vec![vec![0; warps]; warps];
        for (warp, row) in seen.iter_mut().enumerate() {
            row[warp] = 1;
        }
        Self {
            seen,
            within: vec![0; warps],
        }
    }

    /// These warps have met.
    pub fn barrier(&mut self, warps: &[usize]) {
        let count = self.seen.len();
        let met: Vec<u32> = (0..count)
            .map(|v| warps.iter().map(|w| self.seen[*w][v]).max().unwrap_or(0))
            .collect();
        for w in warps {
            self.seen[*w].copy_from_slice(&met);
            self.seen[*w][*w] += 1;
            self.within[*w] += 1;
        }
    }

    pub fn warp_barrier(&mut self, warp: usize) {
        self.within[warp] += 1;
    }

    fn now(&self, warp: usize, lane: usize) -> Stamp {
        Stamp {
            thread: (warp * super::registers::LANES + lane) as u32 + 1,
            epoch: self.seen[warp][warp],
            within: self.within[warp],
        }
    }

    /// Was that access ordered before this warp's present?
    fn ordered(&self, earlier: Stamp, warp: usize, lane: usize) -> bool {
        let thread = earlier.thread - 1;
        let other = thread as usize / super::registers::LANES;
        if other == warp {
            return thread as usize % super::registers::LANES == lane
                || earlier.within < self.within[warp];
        }
        earlier.epoch <= self.seen[warp][other] && earlier.epoch < self.seen[other][other]
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    /// Zero for nobody.
    thread: u32,
    epoch: u32,
    within: u32,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    write: Stamp,
    /// The last readers of two different warps: enough to catch a later write without order.
    reads: [Stamp; 2],
    atomic: bool,
}

pub struct Races {
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    Write,
    Atomic,
}

impl Races {
    pub fn new(bytes: usize) -> Self {
        Self {
            cells: vec![Cell::default(); bytes],
        }
    }

    /// Notes an access; says which thread it races with, and whether that one wrote.
    pub fn note(
        &mut self,
        clocks: &Clocks,
        warp: usize,
        lane: usize,
        address: u64,
        bytes: u64,
        how: Use,
    ) -> Option<(u32, bool)> {
        let now = clocks.now(warp, lane);
        for cell in &mut self.cells[address as usize..(address + bytes) as usize] {
            let against =
                |earlier: Stamp| earlier.thread != 0 && !clocks.ordered(earlier, warp, lane);
            let both_atomic = how == Use::Atomic && cell.atomic;
            if !both_atomic && against(cell.write) {
                return Some((cell.write.thread - 1, true));
            }
            if how != Use::Read
                && let Some(read) = cell.reads.iter().find(|r| against(**r))
            {
                return Some((read.thread - 1, false));
            }
            if how == Use::Read {
                let lanes = super::registers::LANES as u32;
                let same_warp = |s: Stamp| s.thread != 0 && (s.thread - 1) / lanes == warp as u32;
                let at = usize::from(!same_warp(cell.reads[0]) && cell.reads[0].thread != 0);
                cell.reads[at] = now;
            } else {
                *cell = Cell {
                    write: now,
                    reads: [Stamp::default(); 2],
                    atomic: how == Use::Atomic,
                };
            }
        }
        None
    }
}
