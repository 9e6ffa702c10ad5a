//! Where the ranks of one process meet: sums and copies over buffers that each of them lends the
//! others for the length of one call.
//!
//! Each rank adds up an equal stripe of all ranks' values, in rank order, and writes the sum to all:
//! every rank ends with the same bits, whoever came first.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, spin_loop};
use super::workers;

/// Looks at the counter before a rank parks: half a millisecond or so, longer than ranks of equal work
/// are apart as a rule, and short against the time that they would lose by being woken.
const SPINS: usize = 20_000;
/// Values of a stripe that are summed at a time: they stay in L1 with their sums.
const BLOCK: usize = 1024;
/// Values of a stripe that are worth sharing among a rank's threads.
const SHARED_STRIPE: usize = 16 * BLOCK;
/// Stripes start on cache lines, so that no two ranks write the same one.
const LINE: usize = 16;

/// Another rank failed: its number and reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rank {rank} failed: {reason}")]
pub struct Stopped {
    pub rank: usize,
    pub reason: String,
}

#[derive(Clone, Copy)]
struct Lent {
    start: *mut u32,
    len: usize,
}

/// One meeting point for a fixed number of ranks.
pub struct Rendezvous {
    /// What each rank lends.
    lent: Vec<UnsafeCell<Lent>>,
    arrived: AtomicUsize,
    /// Counts meetings; a change lets everyone go on.
    epoch: AtomicUsize,
    spins: usize,
    /// Ranks that are parked, or about to.
    parked: AtomicUsize,
    door: Mutex<()>,
    opened: Condvar,
    is_stopped: AtomicBool,
    stopped: Mutex<Option<Stopped>>,
}

// SAFETY: a rank writes only its own `lent`, before it arrives at a meeting; others read it only between
// that meeting and the next, at which the owner waits. What `start` points to is used under the same rule.
unsafe impl Sync for Rendezvous {}
// SAFETY: as above; nothing in it belongs to one thread.
unsafe impl Send for Rendezvous {}

impl Rendezvous {
    /// `spin`: whether there is a core for every thread of every rank.
    pub fn new(ranks: usize, spin: bool) -> Self {
        let nothing = Lent {
            start: std::ptr::null_mut(),
            len: 0,
        };
        Self {
            lent: (0..ranks).map(|_| UnsafeCell::new(nothing)).collect(),
            arrived: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
            spins: if spin { SPINS } else { 0 },
            parked: AtomicUsize::new(0),
            door: Mutex::new(()),
            opened: Condvar::new(),
            is_stopped: AtomicBool::new(false),
            stopped: Mutex::new(None),
        }
    }

    pub fn ranks(&self) -> usize {
        self.lent.len()
    }

    /// Ends this meeting point: whoever waits or comes later is told. The first reason counts.
    pub fn stop(&self, rank: usize, reason: &str) {
        let mut stopped = lock(&self.stopped);
        stopped.get_or_insert_with(|| Stopped {
            rank,
            reason: reason.to_owned(),
        });
        drop(stopped);
        self.is_stopped.store(true, Ordering::SeqCst);
        let _door = lock(&self.door);
        self.opened.notify_all();
    }

    /// Why the ranks stopped, if they have.
    pub fn stopped(&self) -> Option<Stopped> {
        lock(&self.stopped).clone()
    }

    /// Sets the values of each rank to their sum over all ranks, added in rank order; gives the wait for the last to come.
    ///
    /// # Errors
    /// A rank has stopped, or brings another number of values.
    pub fn sum(&self, rank: usize, values: &mut [f32]) -> Result<Duration, Stopped> {
        let wait = self.lend(rank, values.as_mut_ptr().cast(), values.len())?;
        self.check_lengths(values.len())?;
        let stripe = self.stripe(rank, values.len());
        let blocks = stripe.len().div_ceil(BLOCK);
        let sum_block = |block: usize| {
            let start = stripe.start + block * BLOCK;
            self.sum_range(start..stripe.end.min(start + BLOCK));
        };
        match stripe.len() >= SHARED_STRIPE {
            true => workers::each(blocks, sum_block),
            false => (0..blocks).for_each(sum_block),
        }
        self.meet()?;
        Ok(wait)
    }

    /// Overwrites `all` with the words of every rank, in rank order; gives the wait for the last to come.
    ///
    /// # Errors
    /// A rank has stopped, or brings another number of words.
    pub fn gather(
        &self,
        rank: usize,
        mine: &[u32],
        all: &mut Vec<u32>,
    ) -> Result<Duration, Stopped> {
        let wait = self.lend(rank, mine.as_ptr().cast_mut(), mine.len())?;
        self.check_lengths(mine.len())?;
        all.clear();
        for lent in &self.lent {
            // SAFETY: between the meetings, see `Sync`; lent as `mine.len()` initialised words, by the check.
            let words = unsafe {
                let lent = *lent.get();
                std::slice::from_raw_parts(lent.start.cast_const(), lent.len)
            };
            all.extend_from_slice(words);
        }
        self.meet()?;
        Ok(wait)
    }

    /// Lends until the next meeting but one, and waits for all others to have done so: for how long.
    fn lend(&self, rank: usize, start: *mut u32, len: usize) -> Result<Duration, Stopped> {
        // An empty slice's pointer may dangle; nobody follows it for no elements.
        // SAFETY: this rank's own place, which nobody reads before the meeting below.
        unsafe { *self.lent[rank].get() = Lent { start, len } };
        let came = Instant::now();
        self.meet()?;
        Ok(came.elapsed())
    }

    /// Every rank comes to the same answer here, so that none is left waiting.
    fn check_lengths(&self, len: usize) -> Result<(), Stopped> {
        // SAFETY: between the meetings, see `Sync`.
        let lengths = self.lent.iter().map(|lent| unsafe { (*lent.get()).len });
        let odd = lengths.enumerate().find(|&(_, other)| other != len);
        let Some((rank, other)) = odd else {
            return Ok(());
        };
        let reason = format!("it brought {other} values to a meeting where another brought {len}");
        self.stop(rank, &reason);
        Err(Stopped { rank, reason })
    }

    /// The values that `rank` adds up.
    fn stripe(&self, rank: usize, len: usize) -> Range<usize> {
        let lines = len.div_ceil(LINE);
        let at = |rank: usize| (rank * lines / self.ranks() * LINE).min(len);
        at(rank)..at(rank + 1)
    }

    /// Adds up one range and writes the sums to every rank.
    fn sum_range(&self, range: Range<usize>) {
        let mut sums = [0.0_f32; BLOCK];
        let sums = &mut sums[..range.len()];
        for (rank, lent) in self.lent.iter().enumerate() {
            // SAFETY: between the meetings, see `Sync`; lent as f32 of a common length that holds `range`,
            // which no other rank or thread touches: stripes and blocks are disjoint.
            let values = unsafe {
                let start = (*lent.get()).start.cast::<f32>().cast_const();
                std::slice::from_raw_parts(start.add(range.start), range.len())
            };
            match rank {
                0 => sums.copy_from_slice(values),
                _ => sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += v),
            }
        }
        for lent in &self.lent {
            // SAFETY: as above; the shared slices of this range are gone.
            let values = unsafe {
                let start = (*lent.get()).start.cast::<f32>();
                std::slice::from_raw_parts_mut(start.add(range.start), range.len())
            };
            values.copy_from_slice(sums);
        }
    }

    /// Waits until every rank has come.
    ///
    /// A rank that has stopped is not let in again: a meeting either ends for all or for none.
    ///
    /// # Errors
    /// A rank has stopped.
    pub fn meet(&self) -> Result<(), Stopped> {
        if self.is_stopped.load(Ordering::SeqCst) {
            return Err(self.reason());
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        if self.arrived.fetch_add(1, Ordering::SeqCst) + 1 == self.ranks() {
            self.arrived.store(0, Ordering::SeqCst);
            self.epoch.fetch_add(1, Ordering::SeqCst);
            if self.parked.load(Ordering::SeqCst) > 0 {
                let _door = lock(&self.door);
                self.opened.notify_all();
            }
            return Ok(());
        }
        let mut spins = 0;
        loop {
            // In this order: whoever leaves this meeting may stop right after it.
            let is_stopped = self.is_stopped.load(Ordering::SeqCst);
            if self.epoch.load(Ordering::SeqCst) != epoch {
                return Ok(());
            }
            if is_stopped {
                return Err(self.reason());
            }
            if spins < self.spins {
                spins += 1;
                spin_loop();
                continue;
            }
            self.parked.fetch_add(1, Ordering::SeqCst);
            let mut door = lock(&self.door);
            while self.epoch.load(Ordering::SeqCst) == epoch
                && !self.is_stopped.load(Ordering::SeqCst)
            {
                door = self
                    .opened
                    .wait(door)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(door);
            self.parked.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn reason(&self) -> Stopped {
        self.stopped().unwrap_or(Stopped {
            rank: 0,
            reason: "no reason was given".to_owned(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `f(rank)` on a thread each.
    fn on_ranks<R: Send>(
        ranks: usize,
        spin: bool,
        f: impl Fn(&Rendezvous, usize) -> R + Sync,
    ) -> Vec<R> {
        let rendezvous = Rendezvous::new(ranks, spin);
        std::thread::scope(|scope| {
            let (f, rendezvous) = (&f, &rendezvous);
            let threads: Vec<_> = (0..ranks)
                .map(|rank| scope.spawn(move || f(rendezvous, rank)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    fn values(rank: usize, len: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 7 + rank * 13) % 101) as f32 * 0.37 - 9.0)
            .collect()
    }

    #[test]
    fn sums_are_in_rank_order_on_every_rank() {
        for (ranks, spin) in [(1, true), (2, true), (3, false), (5, false)] {
            for len in [0, 1, 15, 16, 17, 1000, 100_003] {
                let sums = on_ranks(ranks, spin, |rendezvous, rank| {
                    let mut values = values(rank, len);
                    let mut workers = workers::Workers::new(2, spin).unwrap();
                    workers.install(|| rendezvous.sum(rank, &mut values).unwrap());
                    values
                });
                let mut expected = values(0, len);
                for rank in 1..ranks {
                    let other = values(rank, len);
                    expected.iter_mut().zip(other).for_each(|(e, v)| *e += v);
                }
                assert!(
                    sums.iter().all(|sum| *sum == expected),
                    "{ranks} ranks, {len}"
                );
            }
        }
    }

    #[test]
    fn many_meetings_in_a_row() {
        for spin in [true, false] {
            let found = on_ranks(3, spin, |rendezvous, rank| {
                let mut all = Vec::new();
                let mut sum = 0;
                for round in 0..600_u32 {
                    rendezvous
                        .gather(rank, &[round, rank as u32], &mut all)
                        .unwrap();
                    assert_eq!(all, [round, 0, round, 1, round, 2]);
                    sum += all[0];
                }
                sum
            });
            assert_eq!(found, [599 * 300; 3]);
        }
    }

    #[test]
    fn a_rank_that_stops_releases_the_others() {
        for spin in [true, false] {
            let found = on_ranks(3, spin, |rendezvous, rank| {
                let mut values = [1.0; 40];
                rendezvous.sum(rank, &mut values).unwrap();
                if rank == 1 {
                    // Long enough that the others park.
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    rendezvous.stop(rank, "no more memory");
                    rendezvous.stop(rank, "a later reason");
                }
                rendezvous.sum(rank, &mut values).unwrap_err().to_string()
            });
            assert_eq!(found, ["rank 1 failed: no more memory"; 3]);
        }
    }

    #[test]
    fn unequal_lengths_stop_everyone() {
        let found = on_ranks(2, false, |rendezvous, rank| {
            rendezvous.sum(rank, &mut vec![0.0; 8 + rank]).is_err()
        });
        assert_eq!(found, [true, true]);
    }
}
