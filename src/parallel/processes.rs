//! Ranks that are threads of several processes, as many in each. What the first rank of each process brings to the others'
//! is what all its ranks have: only one thread of a process may speak with other processes.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use candle_core::{Result, bail};

use super::{Collective, Failed, Threads};
use crate::ground::recorder::Traffic;
use crate::ops::Buffer;

/// One rank's view of those in its process and, through the first of them, in others. Words only: numbers are added up on
/// the ranks' devices.
pub struct Processes {
    here: Threads,
    /// This process, and how many there are.
    process: usize,
    processes: usize,
    /// Between the processes: of the first rank in each.
    between: Option<Box<dyn Collective>>,
    /// Of the ranks here.
    ours: RefCell<Vec<u32>>,
    traffic: Cell<Traffic>,
}

impl Processes {
    /// `here` among the ranks of process `process` of `processes`; `between` belongs to the first of them.
    pub fn new(
        here: Threads,
        (process, processes): (usize, usize),
        between: Option<Box<dyn Collective>>,
    ) -> Self {
        Self {
            here,
            process,
            processes,
            between,
            ours: RefCell::default(),
            traffic: Cell::default(),
        }
    }
}

impl Collective for Processes {
    fn rank(&self) -> usize {
        self.process * self.here.size() + self.here.rank()
    }

    fn size(&self) -> usize {
        self.processes * self.here.size()
    }

    fn all_reduce(&self, x: &Buffer, _rows: usize) -> Result<()> {
        bail!(
            "numbers on {:?} are not added up over threads of several processes",
            x.device()
        )
    }

    fn all_gather(&self, mine: &[u32], all: &mut Vec<u32>) -> Result<()> {
        let start = Instant::now();
        let mut ours = self.ours.borrow_mut();
        self.here.all_gather(mine, &mut ours)?;
        // The others lend as many words, which nobody reads.
        all.resize(self.size() * mine.len(), 0);
        if let Some(between) = &self.between {
            between.all_gather(&ours, all)?;
        }
        self.here.all_gather(all, &mut ours)?;
        ours.truncate(all.len());
        std::mem::swap(&mut *ours, all);
        let mut traffic = self.traffic.get();
        traffic += Traffic {
            bytes: size_of_val(mine) as u64,
            time: start.elapsed(),
            wait: None,
        };
        self.traffic.set(traffic);
        Ok(())
    }

    fn take_traffic(&self) -> Traffic {
        self.traffic.take()
    }

    fn failed(&self) -> Failed {
        self.here.failed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ops::cpu::rendezvous::Rendezvous;

    /// Threads stand for processes, too.
    #[test]
    fn every_rank_of_every_process_has_the_words_of_all() {
        const PROCESSES: usize = 3;
        const HERE: usize = 2;
        let among = Arc::new(Rendezvous::new(PROCESSES, false));
        std::thread::scope(|scope| {
            for process in 0..PROCESSES {
                let within = Arc::new(Rendezvous::new(HERE, false));
                for index in 0..HERE {
                    let (among, within) = (among.clone(), within.clone());
                    scope.spawn(move || {
                        let between =
                            || -> Box<dyn Collective> { Box::new(Threads::new(process, among)) };
                        let ranks = Processes::new(
                            Threads::new(index, within),
                            (process, PROCESSES),
                            (index == 0).then(between),
                        );
                        let rank = process * HERE + index;
                        assert_eq!((ranks.rank(), ranks.size()), (rank, PROCESSES * HERE));
                        for round in 0..50 {
                            let word = |rank: usize| [rank as u32, (round * 7 + rank) as u32];
                            let mut all = vec![9; round];
                            ranks.all_gather(&word(rank), &mut all).unwrap();
                            let expected: Vec<u32> = (0..PROCESSES * HERE).flat_map(word).collect();
                            assert_eq!(all, expected);
                        }
                        assert_eq!(ranks.take_traffic().bytes, 50 * 8);
                    });
                }
            }
        });
    }
}
