//! The ranks of one process among all.

use std::sync::Arc;

use super::seat::{Seat, Threads};
use crate::ops::cpu::rendezvous::Rendezvous;
use crate::parallel::{self, Collective, Processes, Solo};

/// The ranks of this process.
pub struct Part {
    /// Between this process and the others, of which each has as many ranks; [`Solo`]: there are none.
    pub between: Box<dyn Collective>,
    /// One of each rank here.
    pub seats: Vec<Seat>,
}

impl Part {
    /// All ranks there are, of which `threads` are shared.
    pub fn whole(ranks: usize, threads: Threads) -> Self {
        Self {
            between: Box::new(Solo),
            seats: (0..ranks).map(|rank| threads.seat(rank, ranks)).collect(),
        }
    }

    pub fn place(&self) -> Place {
        let spin = self.seats.iter().all(|seat| seat.spin);
        Place {
            rendezvous: Arc::new(Rendezvous::new(self.seats.len(), spin)),
            among: (self.between.rank(), self.between.size()),
        }
    }
}

/// Where ranks of this process meet each other, and those of other processes.
#[derive(Clone)]
pub struct Place {
    pub rendezvous: Arc<Rendezvous>,
    /// This process, and how many there are.
    among: (usize, usize),
}

impl Place {
    /// Of the rank at `index` here.
    pub fn number(&self, index: usize) -> usize {
        self.among.0 * self.rendezvous.ranks() + index
    }

    /// What the rank at `index` here sees of all; `between` is the first one's.
    pub fn collective(
        &self,
        index: usize,
        between: Option<Box<dyn Collective>>,
    ) -> Box<dyn Collective> {
        let here = || parallel::Threads::new(index, self.rendezvous.clone());
        match (self.rendezvous.ranks(), self.among, between) {
            (1, _, Some(between)) => between,
            (_, (_, 1), _) => Box::new(here()),
            (_, among, between) => Box::new(Processes::new(here(), among, between)),
        }
    }
}
