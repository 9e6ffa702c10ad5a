//! Ranks that are processes of an MPI job, on one machine or several.
//!
//! `MPI_Allreduce` promises no order of summation, so the sums are made here: every rank adds in rank
//! order and ends with the bits that ranks as threads of one process would have.

mod link;
mod wait;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use candle_core::Result;

use super::Collective;
use crate::ground::recorder::Traffic;
use crate::ops::cpu::workers;
use crate::ops::{Buffer, storage};

pub use link::{JoinError, Link, Place};

/// Up to this many bytes every rank gets all values and adds all of them: one exchange instead of two.
/// Measured with 2 and 4 ranks over shared memory and TCP: as fast at 32 KiB, 1.4 to 1.8 times slower at
/// 128 KiB with 4 ranks.
const DIRECT_BYTES: usize = 64 << 10;
/// Values that are summed at a time: they stay in L1 with their sums.
const BLOCK: usize = 1024;
/// Sums that are worth sharing among a rank's threads.
const SHARED: usize = 16 * BLOCK;

pub struct Mpi {
    link: Rc<Link>,
    /// What each rank sent, in rank order.
    parts: RefCell<Vec<f32>>,
    traffic: Cell<Traffic>,
}

impl Mpi {
    pub fn new(link: Rc<Link>) -> Self {
        Self {
            link,
            parts: RefCell::default(),
            traffic: Cell::default(),
        }
    }

    /// Counts what `exchange` moves, and the time with the wait for the slowest rank.
    fn counted(&self, bytes: usize, exchange: impl FnOnce()) {
        let start = Instant::now();
        exchange();
        let mut traffic = self.traffic.get();
        traffic += Traffic {
            bytes: bytes as u64,
            time: start.elapsed(),
            wait: None,
        };
        self.traffic.set(traffic);
    }

    fn sum(&self, values: &mut [f32]) {
        let (ranks, len) = (self.link.size(), values.len());
        let mut parts = self.parts.borrow_mut();
        if size_of_val(values) <= DIRECT_BYTES {
            parts.resize(ranks * len, 0.0);
            self.link.gather(values, &mut parts);
            add(&parts, values);
        } else {
            // Each rank adds up a stripe of the values and sends its sums to all.
            let stripe = |rank: usize| rank * len / ranks..(rank + 1) * len / ranks;
            let own = stripe(self.link.rank());
            parts.resize(ranks * own.len(), 0.0);
            self.link.scatter(values, &stripe, &mut parts);
            add(&parts, &mut values[own]);
            self.link.share(values, &stripe);
        }
    }
}

/// Sets `sums` to the sum of all `parts`, each as long as it, in their order.
fn add(parts: &[f32], sums: &mut [f32]) {
    let len = sums.len();
    if len == 0 {
        return;
    }
    let add_from = |start: usize, sums: &mut [f32]| {
        for (rank, part) in parts.chunks_exact(len).enumerate() {
            let part = &part[start..start + sums.len()];
            match rank {
                0 => sums.copy_from_slice(part),
                _ => sums.iter_mut().zip(part).for_each(|(sum, v)| *sum += v),
            }
        }
    };
    let shared = if len < SHARED { 0 } else { len - len % BLOCK };
    let (blocks, rest) = sums.split_at_mut(shared);
    workers::each_chunk(blocks, BLOCK, |block, sums| add_from(block * BLOCK, sums));
    add_from(shared, rest);
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.link.rank()
    }

    fn size(&self) -> usize {
        self.link.size()
    }

    /// Ends the job where another rank does not answer, as do all exchanges.
    fn all_reduce(&self, x: &Buffer, rows: usize) -> Result<()> {
        let len = rows * x.dim(1)?;
        storage::write(x, |values: &mut [f32]| {
            self.counted(len * size_of::<f32>(), || self.sum(&mut values[..len]));
            Ok(())
        })
    }

    fn all_gather(&self, mine: &[u32], all: &mut Vec<u32>) -> Result<()> {
        all.resize(self.link.size() * mine.len(), 0);
        self.counted(size_of_val(mine), || self.link.gather(mine, all));
        Ok(())
    }

    fn take_traffic(&self) -> Traffic {
        self.traffic.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_added_in_their_order() {
        for len in [0, 1, 100, SHARED, SHARED + 7] {
            let part = |rank: usize| (0..len).map(move |i| (i * 7 + rank * 13) as f32 * 0.37 - 9.0);
            let parts: Vec<f32> = (0..3).flat_map(part).collect();
            let mut sums = vec![f32::NAN; len];
            let mut workers = workers::Workers::new(2, false).unwrap();
            workers.install(|| add(&parts, &mut sums));
            let pairs = part(0).zip(part(1)).zip(part(2));
            let expected: Vec<f32> = pairs.map(|((a, b), c)| a + b + c).collect();
            assert_eq!(sums, expected);
        }
    }
}
