//! One process of an MPI job, and its messages to and from the others. None waits for ever: where
//! another process does not answer, this one says so and ends the job.
//!
//! MPI is called from the thread that joined, and from no other (`MPI_THREAD_FUNNELED`).

use std::cell::RefCell;
use std::ops::Range;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mpi::environment::Universe;
use mpi::request::{LocalScope, Request, scope};
use mpi::topology::{Process, SimpleCommunicator};
use mpi::traits::{Communicator, Destination, Equivalence, Source};
use mpi::{Tag, Threading};

use super::wait::Wait;

/// Messages between all ranks; rank 0's messages and the others' to it have tags of their own.
const EXCHANGE: Tag = 0;
/// A note to rank 0: this rank waits, too.
const WAITING: Tag = 3;
/// Ranks that see the same failure speak one after another: the first ends the job before the others do.
const BETWEEN_RANKS: Duration = Duration::from_secs(1);
/// How often a rank looks whether one before it has spoken.
const GLANCE: Duration = Duration::from_millis(10);
/// For the launcher to pass on what was written before it ends every process, and for notes to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// `MPI_Abort` asks the launcher to end the job, and waits for it; where that is out of reach this
/// process ends itself.
const GRACE: Duration = Duration::from_secs(2);

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

/// Where a rank runs.
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
    places: Vec<Place>,
    patience: Duration,
    told_to_end: Arc<AtomicBool>,
    tell: fn(&str),
}

impl Link {
    /// Joins the job of `expected` processes that this one was started in.
    ///
    /// `patience` is how long another rank may be late; `told_to_end` is set when the launcher ends this
    /// process; `tell` shows the user why the job ends.
    ///
    /// # Errors
    /// MPI does not see those processes, or cannot be used.
    pub fn join(
        expected: usize,
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
            places: Vec::new(),
            patience,
            told_to_end,
            tell,
        };
        let host = mpi::environment::processor_name().unwrap_or_default();
        link.places = link.gather_places(&Place { host, cpus });
        Ok(link)
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Where each rank runs.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Such as "rank 2 on node7".
    pub fn name(&self, rank: usize) -> String {
        match self.places.get(rank) {
            Some(place) => format!("rank {rank} on {}", place.host),
            None => format!("rank {rank}"),
        }
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
            if wait.pause() > self.patience {
                self.give_up(&[from], "a command");
            }
        }
    }

    /// Overwrites `message` with the first one to come from one of `ranks`, which may take any time;
    /// gives the rank.
    pub fn await_any(&self, ranks: &[usize], tag: Tag, message: &mut Vec<u8>) -> usize {
        let mut wait = Wait::default();
        loop {
            let mut looked_at = ranks.iter().copied();
            if let Some(from) = looked_at.find(|&rank| self.take(rank, tag, message)) {
                return from;
            }
            wait.rest();
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
            if wait.pause() > self.patience {
                let missing: Vec<usize> = open.iter().map(|(rank, _)| *rank).collect();
                self.give_up(&missing, what);
            }
        }
    }

    /// Names the silent ranks and ends the job. Requests are open, whose buffers MPI may still write:
    /// there is no way back from here.
    fn give_up(&self, missing: &[usize], what: &str) -> ! {
        let mut silent = missing.to_vec();
        silent.sort_unstable();
        silent.dedup();
        if self.rank == 0 {
            self.forgive_waiting(&mut silent);
        }
        let names: Vec<String> = silent.iter().map(|&rank| self.name(rank)).collect();
        let reason = format!(
            "no answer from {} for {:.0} s during {what}; it has stopped, or the network to it has",
            names.join(" and "),
            self.patience.as_secs_f64()
        );
        scope(|scope| {
            if self.rank != 0 {
                let note: &[u8] = &[];
                // Sent at once or never: nobody waits for it.
                std::mem::forget(
                    self.process(0)
                        .immediate_send_with_tag(scope, note, WAITING),
                );
            }
            self.fail(&reason)
        })
    }

    /// Takes out the ranks that have sent a note: they are behind because they wait for another one.
    fn forgive_waiting(&self, silent: &mut Vec<usize>) {
        std::thread::sleep(LAST_WORDS);
        // The notes stay where they are: there is nothing in them.
        let note_of = |rank: usize| self.process(rank).immediate_probe_with_tag(WAITING);
        let is_waiting = |rank: &usize| note_of(*rank).is_some();
        let (waiting, stopped): (Vec<usize>, Vec<usize>) =
            silent.iter().partition(|rank| is_waiting(rank));
        *silent = if stopped.is_empty() { waiting } else { stopped };
    }

    /// Says why and ends the job, unless a rank before this one does so.
    pub fn fail(&self, reason: &str) -> ! {
        let turn = Instant::now() + BETWEEN_RANKS * self.rank as u32;
        while Instant::now() < turn {
            if self.told_to_end.load(Ordering::Relaxed) {
                process::exit(1);
            }
            std::thread::sleep(GLANCE);
        }
        (self.tell)(&format!("{}: {reason}", self.name(self.rank)));
        self.abort(1)
    }

    /// Ends every process of the job; the launcher's exit code is `code`.
    pub fn abort(&self, code: u8) -> ! {
        std::thread::sleep(LAST_WORDS);
        let last_resort = std::thread::Builder::new().spawn(move || {
            std::thread::sleep(GRACE);
            process::exit(i32::from(code));
        });
        drop(last_resort);
        self.world.abort(i32::from(code))
    }

    /// Leaves the job once every rank does.
    pub fn leave(&self) {
        drop(self.universe.take());
    }

    fn process(&self, rank: usize) -> Process<'_> {
        self.world.process_at_rank(rank as mpi::Rank)
    }

    /// Where each rank runs, from where this one does.
    fn gather_places(&self, own: &Place) -> Vec<Place> {
        let text = format!("{}\n{}", own.host, own.cpus).into_bytes();
        let mut lengths = vec![0; self.size];
        self.gather(&[text.len()], &mut lengths);
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut padded = text;
        padded.resize(longest, b' ');
        let mut all = vec![0; self.size * longest];
        self.gather(&padded, &mut all);
        let place = |text: &[u8]| {
            let text = String::from_utf8_lossy(text);
            let (host, cpus) = text.split_once('\n').unwrap_or((&text, ""));
            Place {
                host: host.to_owned(),
                cpus: cpus.trim_end().to_owned(),
            }
        };
        all.chunks_exact(longest).map(place).collect()
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
