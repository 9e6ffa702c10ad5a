//! What lanes of a warp tell each other: `shfl`, `match`, `redux`, `vote`.

use super::access::lanes_of;
use super::registers::{LANES, Lane, Slot};
use super::warp::Warp;
use crate::ptx::Type;

/// What a lane gets from one that does not take part.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Shuffle(Shuffle),
    MatchAny,
    MatchAll,
    Reduce(super::atomic::Operation, Type),
}

pub struct Exchange {
    pub kind: Kind,
    pub result: Slot,
    /// Also told: did the lane get a value, do all match?
    pub predicate: Option<Slot>,
    pub a: Slot,
    pub b: Slot,
    pub c: Slot,
    /// Is the source 64 bits wide? (`match` only)
    pub wide: bool,
    pub mask: Option<Slot>,
}

pub fn exchange(warp: &mut Warp, form: &Exchange, mask: u32) {
    let a = warp.registers.bits(form.a, form.wide);
    let mut result = [0u32; LANES];
    let mut told = 0u32;
    match form.kind {
        Kind::Shuffle(how) => {
            let (b, c) = (
                u32::load(&warp.registers, form.b),
                u32::load(&warp.registers, form.c),
            );
            for lane in lanes_of(mask) {
                let (from, valid) = source(how, lane as u32, b[lane], c[lane]);
                told |= u32::from(valid) << lane;
                let there = mask >> from & 1 != 0;
                result[lane] = if there {
                    a[from as usize] as u32
                } else {
                    NOBODY
                };
            }
        }
        Kind::MatchAny => {
            for lane in lanes_of(mask) {
                result[lane] = lanes_of(mask)
                    .filter(|other| a[*other] == a[lane])
                    .fold(0, |m, other| m | 1 << other);
            }
        }
        Kind::MatchAll => {
            let first = a[mask.trailing_zeros() as usize];
            let same = lanes_of(mask).all(|lane| a[lane] == first);
            result = [if same { mask } else { 0 }; LANES];
            told = if same { mask } else { 0 };
        }
        Kind::Reduce(operation, ty) => {
            let combine = |x, y| super::atomic::apply(operation, ty, x, y, 0) & u64::from(u32::MAX);
            let all = lanes_of(mask)
                .map(|lane| a[lane])
                .reduce(combine)
                .unwrap_or(0);
            result = [all as u32; LANES];
        }
    }
    u32::store(&mut warp.registers, form.result, result, mask);
    if let Some(slot) = form.predicate {
        let predicate = &mut warp.registers.predicates[slot as usize];
        *predicate = *predicate & !mask | told & mask;
    }
}

/// The lane to read from and whether it is in reach, as the PTX manual computes it.
fn source(how: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    const FIELD: u32 = 0x1f;
    let b = b & FIELD;
    let clamp = c & FIELD;
    let segment = c >> 8 & FIELD;
    let last = lane & segment | clamp & !segment;
    let first = lane & segment;
    let (from, valid) = match how {
        Shuffle::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= last as i32),
        Shuffle::Down => (lane + b, lane + b <= last),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= last),
        Shuffle::Index => (first | b & !segment, first | b & !segment <= last),
    };
    let from = if valid { from } else { lane };
    (from & FIELD, valid)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    All,
    Any,
    Uniform,
    Ballot,
    Active,
}

pub struct Vote {
    pub poll: Poll,
    pub result: Slot,
    pub source: Slot,
    pub negated: bool,
    pub mask: Option<Slot>,
}

pub fn vote(warp: &mut Warp, form: &Vote, mask: u32) {
    let bits = if form.poll == Poll::Active {
        0
    } else {
        warp.registers.predicates[form.source as usize]
    };
    let yes = if form.negated { !bits } else { bits } & mask;
    let truth = match form.poll {
        Poll::Ballot | Poll::Active => {
            let value = if form.poll == Poll::Active { mask } else { yes };
            u32::store(&mut warp.registers, form.result, [value; LANES], mask);
            return;
        }
        Poll::All => yes == mask,
        Poll::Any => yes != 0,
        Poll::Uniform => yes == mask || yes == 0,
    };
    let predicate = &mut warp.registers.predicates[form.result as usize];
    *predicate = if truth {
        *predicate | mask
    } else {
        *predicate & !mask
    };
}
