//! Barriers of a block: `bar.sync`, `bar.arrive` and `bar.red`, with a count or for all threads.

use super::fault::{Broken, Cause};
use super::registers::{LANES, Slot};
use super::warp::Warp;

pub const BARRIERS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    Count,
    All,
    Any,
}

#[derive(Clone, Copy, Debug)]
pub struct BarrierForm {
    pub id: Slot,
    pub threads: Option<Slot>,
    /// `bar.arrive` goes on at once.
    pub waits: bool,
    /// `bar.red`: how, of which predicate (negated?), and where the result goes.
    pub reduce: Option<(Reduce, Slot, bool, Slot)>,
}

/// A warp at a barrier.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub id: usize,
    pub expected: Option<u32>,
    pub waits: bool,
    pub threads: u32,
    pub reduce: Option<(Reduce, u32, Slot)>,
}

impl BarrierForm {
    pub fn arrive(&self, warp: &Warp, mask: u32) -> Result<Arrival, Broken> {
        let lane = mask.trailing_zeros() as usize;
        let read = |slot: Slot| warp.registers.bit(slot, false, lane) as u32;
        let id = read(self.id) as usize;
        if id >= BARRIERS {
            return Err(Broken::at(
                Cause::Misuse,
                lane,
                format!("there is no barrier {id}: a block has {BARRIERS}"),
            ));
        }
        let expected = self.threads.map(read);
        if let Some(count) = expected
            && (count == 0 || count % LANES as u32 != 0)
        {
            return Err(Broken::at(
                Cause::Misuse,
                lane,
                format!("a barrier for {count} threads: not a number of whole warps"),
            ));
        }
        let reduce = self.reduce.map(|(how, predicate, negated, result)| {
            let bits = warp.registers.predicates[predicate as usize];
            (how, if negated { !bits } else { bits } & mask, result)
        });
        // With a count, a warp counts as a whole.
        let threads = if expected.is_some() {
            LANES as u32
        } else {
            mask.count_ones()
        };
        Ok(Arrival {
            id,
            expected,
            waits: self.waits,
            threads,
            reduce,
        })
    }
}
