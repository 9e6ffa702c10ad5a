//! One process of an MPI job, and its messages to and from the others. None waits for ever: where
//! another process does not answer, this one says so and ends the job. Most jobs have one rank in each process; where
//! there are more, a process is called by the first of its ranks.
//!
//! MPI is called from the thread that joined, and from no other (`MPI_THREAD_FUNNELED`).

mod end;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mpi::environment::Universe;
use mpi::request::{LocalScope, Request, scope};
use mpi::topology::{Process, SimpleCommunicator};
use mpi::traits::{Communicator, Destination, Equivalence, Source};
use mpi::{Tag, Threading};

use super::wait::Wait;
use crate::ops::cpu::rendezvous::Stopped;

/// Messages between all processes; the first one's messages and the others' to it have tags of their own.
const EXCHANGE: Tag = 0;
/// A note to the first process: this one waits, too.
const WAITING: Tag = 3;
/// And: a rank of this one has failed.
const FAILED: Tag = 4;
/// How late another process may be while all start: it may load, compile or connect what others have.
const PATIENT_START: Duration = Duration::from_mins(15);
/// Between two looks at what others report, of a wait that is long already.
const GLANCE: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("MPI was initialised twice; this is a bug of the program")]
    Twice,
    #[error(
        "this MPI library cannot be used by a program with threads; use one that gives MPI_THREAD_FUNNELED"
    )]
    Threads,
    #[error(
        "{expected} processes were started, and MPI sees {found}: this launcher does not serve the MPI library that candlepower is built with; use that library's own mpirun, or srun --mpi=pmix (or --mpi=pmi2)"
    )]
    Size { expected: usize, found: usize },
}

/// Where a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    /// The CPUs that it may use, as text: for comparison.
    pub cpus: String,
}

pub struct Link {
    /// MPI is finalised when it is dropped, which waits for all ranks.
    universe: RefCell<Option<Universe>>,
    world: SimpleCommunicator,
    rank: usize,
    size: usize,
    ranks_each: usize,
    places: Vec<Place>,
    patience: Duration,
    is_starting: Cell<bool>,
    /// The first failure that another process told of.
    reported: RefCell<Option<Stopped>>,
    told_to_end: Arc<AtomicBool>,
    tell: fn(&str),
}

impl Link {
    /// Joins the job of `expected` processes that this one was started in, each with `ranks_each` ranks.
    ///
    /// `patience` is how long another process may be late in a step; `told_to_end` is set when the launcher ends this
    /// process; `tell` shows the user why the job ends.
    ///
    /// # Errors
    /// MPI does not see those processes, or cannot be used.
    pub fn join(
        (expected, ranks_each): (usize, usize),
        cpus: String,
        patience: Duration,
        told_to_end: Arc<AtomicBool>,
        tell: fn(&str),
    ) -> Result<Self, JoinError> {
        let started = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, threading) = started.ok_or(JoinError::Twice)?;
        let world = universe.world();
        let found = world.size() as usize;
        if threading < Threading::Funneled {
            return Err(JoinError::Threads);
        }
        if found != expected {
            return Err(JoinError::Size { expected, found });
        }
        let rank = world.rank() as usize;
        let mut link = Self {
            universe: RefCell::new(Some(universe)),
            world,
            rank,
            size: found,
            ranks_each,
            is_starting: Cell::new(false),
            reported: RefCell::default(),
            places: Vec::new(),
            patience,
            told_to_end,
            tell,
        };
        let host = mpi::environment::processor_name().unwrap_or_default();
        link.places = link.gather_places(&Place { host, cpus });
        Ok(link)
    }

    /// This process among all.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Processes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The lowest rank in a process.
    pub fn first_rank(&self, process: usize) -> usize {
        process * self.ranks_each
    }

    /// Whether other processes may be late by minutes.
    pub fn is_starting(&self, is: bool) {
        self.is_starting.set(is);
    }

    fn patience(&self) -> Duration {
        match self.is_starting.get() {
            true => self.patience.max(PATIENT_START),
            false => self.patience,
        }
    }

    /// Where each process runs.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Such as "rank 2 on node7".
    pub fn name(&self, process: usize) -> String {
        let rank = self.first_rank(process);
        match self.places.get(process) {
            Some(place) => format!("rank {rank} on {}", place.host),
            None => format!("rank {rank}"),
        }
    }

    /// What each process brings, in their order.
    pub fn gather_texts(&self, own: &str) -> Vec<String> {
        let mut lengths = vec![0; self.size];
        self.gather(&[own.len()], &mut lengths);
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut padded = own.as_bytes().to_vec();
        padded.resize(longest, 0);
        let mut all = vec![0; self.size * longest];
        self.gather(&padded, &mut all);
        let text = |(process, &length): (usize, &usize)| {
            let start = process * longest;
            String::from_utf8_lossy(&all[start..start + length]).into_owned()
        };
        lengths.iter().enumerate().map(text).collect()
    }

    /// Overwrites `all` with what each rank brings, in rank order.
    pub fn gather<T: Equivalence + Copy>(&self, mine: &[T], all: &mut [T]) {
        if mine.is_empty() {
            return;
        }
        let parts = all.chunks_exact_mut(mine.len()).enumerate();
        self.exchange(parts, mine, |_| mine);
    }

    /// Sends each rank its range of `values`; overwrites `all` with what they sent of this rank's.
    pub fn scatter<T: Equivalence + Copy>(
        &self,
        values: &[T],
        range: &dyn Fn(usize) -> Range<usize>,
        all: &mut [T],
    ) {
        let own = &values[range(self.rank)];
        let parts = all.chunks_exact_mut(own.len()).enumerate();
        self.exchange(parts, own, |rank| &values[range(rank)]);
    }

    /// Sends this rank's range of `values` to all and overwrites theirs. The ranges lie one behind another.
    pub fn share<T: Equivalence + Copy>(
        &self,
        values: &mut [T],
        range: &dyn Fn(usize) -> Range<usize>,
    ) {
        let mut rest = values;
        let mut parts = Vec::with_capacity(self.size);
        for rank in 0..self.size {
            let (part, behind) = rest.split_at_mut(range(rank).len());
            parts.push((rank, part));
            rest = behind;
        }
        let (_, own) = parts.swap_remove(self.rank);
        let own: &[T] = own;
        self.exchange(parts.into_iter(), own, |_| own);
    }

    /// Sends each other rank its part, receives theirs, and copies `own` to where this rank's belongs.
    fn exchange<'a, T: Equivalence + Copy + 'a>(
        &self,
        incoming: impl Iterator<Item = (usize, &'a mut [T])>,
        own: &[T],
        outgoing: impl Fn(usize) -> &'a [T],
    ) {
        scope(|scope| {
            let mut open = Vec::with_capacity(2 * self.size);
            for (rank, part) in incoming {
                if rank == self.rank {
                    part.copy_from_slice(own);
                    continue;
                }
                let process = self.process(rank);
                open.push((
                    rank,
                    process.immediate_receive_into_with_tag(scope, part, EXCHANGE),
                ));
            }
            for rank in (0..self.size).filter(|rank| *rank != self.rank) {
                let process = self.process(rank);
                open.push((
                    rank,
                    process.immediate_send_with_tag(scope, outgoing(rank), EXCHANGE),
                ));
            }
            self.finish(open, "an exchange");
        });
    }

    /// Sends a message of any length.
    pub fn send(&self, to: usize, tag: Tag, message: &[u8]) {
        scope(|scope| {
            let request = self
                .process(to)
                .immediate_send_with_tag(scope, message, tag);
            self.finish(vec![(to, request)], "a command");
        });
    }

    /// Overwrites `message` with the next one from a rank, which must come soon.
    pub fn receive(&self, from: usize, tag: Tag, message: &mut Vec<u8>) {
        let mut wait = Wait::default();
        while !self.take(from, tag, message) {
            self.go_on(wait.pause(), || vec![from], "a command");
        }
    }

    /// Overwrites `message` with the first one to come from one of `processes`, and tells which; `None`: none has come in
    /// `patience`, which may be for ever.
    pub fn await_any(
        &self,
        processes: &[usize],
        tag: Tag,
        patience: Option<Duration>,
        message: &mut Vec<u8>,
    ) -> Option<usize> {
        let mut wait = Wait::default();
        loop {
            let mut looked_at = processes.iter().copied();
            if let Some(from) = looked_at.find(|&from| self.take(from, tag, message)) {
                return Some(from);
            }
            let waited = wait.rest();
            if patience.is_some_and(|patience| waited > patience) {
                return None;
            }
        }
    }

    /// Receives a message if one has come.
    fn take(&self, from: usize, tag: Tag, message: &mut Vec<u8>) -> bool {
        let Some((found, status)) = self.process(from).immediate_matched_probe_with_tag(tag) else {
            return false;
        };
        message.resize(status.count(u8::equivalent_datatype()) as usize, 0);
        scope(|scope| {
            let request = found.immediate_matched_receive_into(scope, message.as_mut_slice());
            self.finish(vec![(from, request)], "a command");
        });
        true
    }

    /// Waits for requests, each with the rank at its other end.
    fn finish<'a, T: ?Sized>(
        &self,
        mut open: Vec<(usize, Request<'a, T, &LocalScope<'a>>)>,
        what: &str,
    ) {
        let mut wait = Wait::default();
        loop {
            let tested = open.into_iter();
            let tested = tested.filter_map(|(rank, request)| Some((rank, request.test().err()?)));
            open = tested.collect();
            if open.is_empty() {
                return;
            }
            let missing = || open.iter().map(|(process, _)| *process).collect();
            self.go_on(wait.pause(), missing, what);
        }
    }

    /// Ends the job where the `missing` have been waited for too long, or one reports that it has failed.
    fn go_on(&self, waited: Duration, missing: impl Fn() -> Vec<usize>, what: &str) {
        if waited < GLANCE {
            return;
        }
        if let Some(stopped) = self.reported() {
            self.fail(&stopped.to_string());
        }
        if waited > self.patience() {
            self.give_up(&missing(), what);
        }
    }

    /// Leaves the job once every rank does.
    pub fn leave(&self) {
        drop(self.universe.take());
    }

    fn process(&self, rank: usize) -> Process<'_> {
        self.world.process_at_rank(rank as mpi::Rank)
    }

    /// Where each process runs, from where this one does.
    fn gather_places(&self, own: &Place) -> Vec<Place> {
        let texts = self.gather_texts(&format!("{}\n{}", own.host, own.cpus));
        let place = |text: String| {
            let (host, cpus) = text.split_once('\n').unwrap_or((&text, ""));
            Place {
                host: host.to_owned(),
                cpus: cpus.to_owned(),
            }
        };
        texts.into_iter().map(place).collect()
    }
}

impl Drop for Link {
    /// Finalising waits for the other ranks, and they may be waiting for this one.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort(1);
        }
        std::mem::forget(self.universe.take());
    }
}
