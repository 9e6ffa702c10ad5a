//! How a job ends: with one reason, from one process.

use std::process;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mpi::request::scope;
use mpi::traits::{Communicator, Destination, Source};

use super::{FAILED, GLANCE, Link, WAITING};
use crate::ops::cpu::rendezvous::Stopped;

/// Ranks that see the same failure speak one after another: the first ends the job before the others do.
const BETWEEN_RANKS: Duration = Duration::from_secs(1);
/// For the launcher to pass on what was written before it ends every process, and for notes to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// `MPI_Abort` asks the launcher to end the job, and waits for it; where that is out of reach this
/// process ends itself.
const GRACE: Duration = Duration::from_secs(2);

impl Link {
    /// Lets the first process know why a rank of this one failed, whatever it waits for.
    pub fn report(&self, rank: usize, reason: &str) {
        if self.rank != 0 {
            self.send(0, FAILED, format!("{rank} {reason}").as_bytes());
        }
    }

    /// The first failure that another process has reported, with the name of its machine.
    pub fn reported(&self) -> Option<Stopped> {
        let known = self.reported.borrow().clone();
        if known.is_some() || self.rank != 0 {
            return known;
        }
        let mut message = Vec::new();
        let mut others = 1..self.size;
        let from = others.find(|&other| self.take(other, FAILED, &mut message))?;
        let text = String::from_utf8_lossy(&message);
        let (rank, reason) = text.split_once(' ')?;
        let stopped = Stopped {
            rank: rank.parse().ok()?,
            reason: reason.to_owned(),
        };
        let placed = self.placed(from, stopped);
        Some(self.reported.borrow_mut().get_or_insert(placed).clone())
    }

    /// A failure of a rank in `process`, with the name of its machine.
    pub fn placed(&self, process: usize, stopped: Stopped) -> Stopped {
        let host = &self.places[process].host;
        Stopped {
            reason: format!("{} (on {host})", stopped.reason),
            ..stopped
        }
    }

    /// Names the silent ranks and ends the job. Requests are open, whose buffers MPI may still write:
    /// there is no way back from here.
    pub(super) fn give_up(&self, missing: &[usize], what: &str) -> ! {
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
            self.patience().as_secs_f64()
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
}
