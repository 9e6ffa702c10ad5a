//! `atom` and `red`: one lane after another, each as one step.

use super::access::{Address, addresses, lanes_of, read, watch, write};
use super::block::Scene;
use super::fault::{Broken, Cause};
use super::floats::{BF16, F16, Rounding, add_to_odd};
use super::order::Order;
use super::races::Use;
use super::registers::{LANES, Slot};
use super::warp::Warp;
use super::windows::{Place, resolve};
use super::{poll, remote};
use crate::ptx::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    CompareAndSwap,
    Increment,
    Decrement,
}

impl Operation {
    pub fn named(modifier: &str) -> Option<Self> {
        Self::reduction(modifier).or(match modifier {
            "exch" => Some(Self::Exchange),
            "cas" => Some(Self::CompareAndSwap),
            "inc" => Some(Self::Increment),
            "dec" => Some(Self::Decrement),
            _ => None,
        })
    }

    /// One that also joins the lanes of a warp.
    pub fn reduction(modifier: &str) -> Option<Self> {
        Some(match modifier {
            "add" => Self::Add,
            "min" => Self::Min,
            "max" => Self::Max,
            "and" => Self::And,
            "or" => Self::Or,
            "xor" => Self::Xor,
            _ => return None,
        })
    }
}

pub struct Atomic {
    pub address: Address,
    pub operation: Operation,
    pub ty: Type,
    pub b: Slot,
    /// The new value of a compare-and-swap.
    pub c: Slot,
    pub result: Option<(Slot, bool)>,
    pub order: Order,
}

/// The value after, from the one before and the operands.
pub fn apply(operation: Operation, ty: Type, old: u64, b: u64, c: u64) -> u64 {
    let half = |bits: u64| (bits as u16, (bits >> 16) as u16);
    match (operation, ty) {
        (Operation::Exchange, _) => b,
        (Operation::CompareAndSwap, _) => {
            if old == b {
                c
            } else {
                old
            }
        }
        (Operation::And, _) => old & b,
        (Operation::Or, _) => old | b,
        (Operation::Xor, _) => old ^ b,
        (Operation::Increment, _) => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        (Operation::Decrement, _) => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        (Operation::Add, Type::F32) => (f32::from_bits(old as u32) + f32::from_bits(b as u32))
            .to_bits()
            .into(),
        (Operation::Add, Type::F64) => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        (Operation::Add, Type::F16 | Type::Bf16) => small(ty, old as u16, b as u16).into(),
        (Operation::Add, Type::F16x2 | Type::Bf16x2) => {
            let ((a0, a1), (b0, b1)) = (half(old), half(b));
            u64::from(small(ty, a1, b1)) << 16 | u64::from(small(ty, a0, b0))
        }
        (Operation::Add, _) => old.wrapping_add(b),
        (Operation::Min, Type::S32) => (old as i32).min(b as i32) as u32 as u64,
        (Operation::Max, Type::S32) => (old as i32).max(b as i32) as u32 as u64,
        (Operation::Min, Type::S64) => (old as i64).min(b as i64) as u64,
        (Operation::Max, Type::S64) => (old as i64).max(b as i64) as u64,
        (Operation::Min, _) => old.min(b),
        (Operation::Max, _) => old.max(b),
    }
}

fn small(ty: Type, a: u16, b: u16) -> u16 {
    let format = if matches!(ty, Type::F16 | Type::F16x2) {
        F16
    } else {
        BF16
    };
    format.encode(
        add_to_odd(format.decode(a.into()), format.decode(b.into())),
        Rounding::Nearest,
        false,
    ) as u16
}

pub fn run(warp: &mut Warp, scene: &mut Scene, form: &Atomic, mask: u32) -> Result<(), Broken> {
    let bytes = form.ty.bytes() as u64;
    let wide = bytes == 8;
    let generic = addresses(&warp.registers, &form.address);
    let b = warp.registers.bits(form.b, wide);
    let c = warp.registers.bits(form.c, wide);
    let narrow = |value: u64| {
        if bytes == 2 {
            value & u64::from(u16::MAX)
        } else {
            value
        }
    };
    let mut before = [0; LANES];
    if scene.launch.limits.traffic && form.address.place != Place::Shared {
        scene.counters.stores.count(&generic, mask, bytes);
    }
    for lane in lanes_of(mask) {
        let (place, at) = match form.address.place {
            Place::Generic => resolve(generic[lane]),
            place => (place, generic[lane]),
        };
        let (b, c) = (narrow(b[lane]), narrow(c[lane]));
        before[lane] = match place {
            Place::Device => {
                let change = |old| apply(form.operation, form.ty, old, b, c);
                let ordered = form.order.acquires || form.order.releases;
                if ordered || !scene.near.holds(at) {
                    remote::change(warp, scene, lane, (at, bytes), form.order, change)?
                } else {
                    scene
                        .view
                        .update(at, bytes, change)
                        .map_err(|f| Broken::memory(lane, &f))?
                }
            }
            Place::Shared => {
                // The race table must not see a plain read and a plain write here.
                let races = scene.shared.races.take();
                let old = read(warp, scene, place, lane, at, bytes);
                let old = old.and_then(|old| {
                    write(
                        warp,
                        scene,
                        place,
                        lane,
                        at,
                        bytes,
                        apply(form.operation, form.ty, old, b, c),
                    )?;
                    Ok(old)
                });
                scene.shared.races = races;
                let old = old?;
                watch(scene, warp.id, lane, at, bytes, Use::Atomic)?;
                old
            }
            _ => {
                return Err(Broken::at(
                    Cause::IllegalAddress,
                    lane,
                    format!("an atomic operation on {place:?} memory"),
                ));
            }
        };
    }
    // A lock that is not had changes nothing.
    let kept = |lane: usize| {
        form.operation == Operation::CompareAndSwap && before[lane] != narrow(b[lane])
    };
    warp.poll.wrote |= !lanes_of(mask).all(kept);
    if let Some((slot, wide)) = form.result {
        let first = mask.trailing_zeros() as usize;
        warp.poll.look(generic[first], before[first], poll::ATOMIC);
        warp.registers.set_bits(slot, wide, &before, mask);
    }
    Ok(())
}
