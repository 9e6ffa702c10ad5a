//! `cvt`: between integers, between floats, and across, each with the rounding that it names.

use super::convert_float::{floats, pair, repack};
use super::operands::wide;
use super::{Lowering, Opcode};
use crate::exec::directed::narrow;
use crate::exec::floats::{BF16, F16, Rounding};
use crate::exec::floats::{bf16_to_f32, f16_to_f32};
use crate::exec::kernel::{Action, Guard};
use crate::exec::lanes::{Alu, Args, lanes};
use crate::ptx::{Operand, PtxError, Type};

pub const SATURATE: u32 = 1;
pub const FTZ: u32 = 2;
pub const RELU: u32 = 4;
pub const FINITE: u32 = 8;
/// Rounding direction, above the flags; and whether the result is a whole number.
const DIRECTION: u32 = 16;

const DIRECTIONS: [Rounding; 5] = [
    Rounding::Nearest,
    Rounding::Zero,
    Rounding::Down,
    Rounding::Up,
    Rounding::Away,
];

pub fn direction(x: &Args) -> Rounding {
    DIRECTIONS[(x.flags / DIRECTION) as usize % DIRECTIONS.len()]
}

/// Integer to integer of every pair of sizes. A result goes to 64 bits if `$out` is.
macro_rules! between_integers {
    ($from:ty, $to:expr, $sat:expr) => {
        match ($to, $sat) {
            (Type::U8, false) => lanes!(u32: |a: $from| a as u8 as u32),
            (Type::S8, false) => lanes!(u32: |a: $from| a as i8 as i32 as u32),
            (Type::U16, false) => lanes!(u32: |a: $from| a as u16 as u32),
            (Type::S16, false) => lanes!(u32: |a: $from| a as i16 as i32 as u32),
            (Type::U32 | Type::B32, false) => lanes!(u32: |a: $from| a as u32),
            (Type::S32, false) => lanes!(i32: |a: $from| a as i32),
            (Type::U64 | Type::B64, false) => lanes!(u64: |a: $from| a as u64),
            (Type::S64, false) => lanes!(i64: |a: $from| a as i64),
            (Type::U8, true) => lanes!(u32: |a: $from| clamp(a as i128, 0, u8::MAX.into()) as u32),
            (Type::S8, true) => lanes!(u32: |a: $from| clamp(a as i128, i8::MIN.into(), i8::MAX.into()) as u32),
            (Type::U16, true) => lanes!(u32: |a: $from| clamp(a as i128, 0, u16::MAX.into()) as u32),
            (Type::S16, true) => lanes!(u32: |a: $from| clamp(a as i128, i16::MIN.into(), i16::MAX.into()) as u32),
            (Type::U32, true) => lanes!(u32: |a: $from| clamp(a as i128, 0, u32::MAX.into()) as u32),
            (Type::S32, true) => lanes!(u32: |a: $from| clamp(a as i128, i32::MIN.into(), i32::MAX.into()) as u32),
            (Type::U64, true) => lanes!(u64: |a: $from| clamp(a as i128, 0, u64::MAX.into()) as u64),
            (Type::S64, true) => lanes!(u64: |a: $from| clamp(a as i128, i64::MIN.into(), i64::MAX.into()) as u64),
            _ => return None,
        }
    };
}

fn clamp(value: i128, low: i128, high: i128) -> i64 {
    value.clamp(low, high) as i64
}

/// One expression for each type of integer source.
macro_rules! by_source {
    ($ty:expr, $t:ident => $e:expr) => {
        match $ty {
            Type::U8 => {
                type $t = u8;
                $e
            }
            Type::S8 => {
                type $t = i8;
                $e
            }
            Type::U16 => {
                type $t = u16;
                $e
            }
            Type::S16 => {
                type $t = i16;
                $e
            }
            Type::U32 => {
                type $t = u32;
                $e
            }
            Type::S32 => {
                type $t = i32;
                $e
            }
            Type::U64 => {
                type $t = u64;
                $e
            }
            Type::S64 => {
                type $t = i64;
                $e
            }
            _ => return None,
        }
    };
}

/// An integer as an f64 that any smaller format can be rounded from: inexact ones have an odd last bit.
fn exact(value: i128) -> f64 {
    let near = value as f64;
    let back = near as i128;
    if back == value || near.to_bits() & 1 != 0 {
        return near;
    }
    let up = (value > back) == (value >= 0);
    f64::from_bits(if up {
        near.to_bits() + 1
    } else {
        near.to_bits() - 1
    })
}

/// An integer to f64 under a direction.
fn to_f64(value: i128, rounding: Rounding) -> f64 {
    let near = value as f64;
    let back = near as i128;
    let step = |away: bool| {
        f64::from_bits(if away {
            near.to_bits() + 1
        } else {
            near.to_bits() - 1
        })
    };
    match rounding {
        Rounding::Zero if back.abs() > value.abs() => step(false),
        Rounding::Down if back > value => step(value < 0),
        Rounding::Up if back < value => step(value >= 0),
        _ => near,
    }
}

fn integers(to: Type, from: Type, sat: bool) -> Option<Alu> {
    Some(by_source!(from, T => between_integers!(T, to, sat)))
}

fn from_integer(to: Type, from: Type, rounding: Rounding) -> Option<Alu> {
    Some(match (to, rounding) {
        (Type::F32, Rounding::Nearest) => by_source!(from, T => lanes!(f32: |a: T| a as f32)),
        (Type::F64, Rounding::Nearest) => by_source!(from, T => lanes!(f64: |a: T| a as f64)),
        (Type::F32, _) => {
            by_source!(from, T => lanes!(x; f32: |a: T| narrow(exact(a as i128), direction(x))))
        }
        (Type::F64, _) => {
            by_source!(from, T => lanes!(x; f64: |a: T| to_f64(a as i128, direction(x))))
        }
        (Type::F16, _) => {
            by_source!(from, T => lanes!(x; u32: |a: T| F16.encode(exact(a as i128), direction(x), false)))
        }
        (Type::Bf16, _) => {
            by_source!(from, T => lanes!(x; u32: |a: T| BF16.encode(exact(a as i128), direction(x), false)))
        }
        _ => return None,
    })
}

/// A whole number near `a`.
pub fn whole(a: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest | Rounding::Away => a.round_ties_even(),
        Rounding::Zero => a.trunc(),
        Rounding::Down => a.floor(),
        Rounding::Up => a.ceil(),
    }
}

/// NaN is zero, or the top bit alone where the source is f64 or the result has 64 bits.
fn to_integer(to: Type, from: Type) -> Option<Alu> {
    macro_rules! integer {
        ($float:expr, $t:ty, $out:ty, $widen:ty) => {{
            let marked = from == Type::F64 || <$t>::BITS == 64;
            macro_rules! run {
                ($lane:ty, $a:ident, $marked:expr, $value:expr) => {
                    lanes!(x; $out: |$a: $lane| {
                        let value: f64 = $value;
                        let value = if x.flags & FTZ != 0 && value.abs() < f64::from(f32::MIN_POSITIVE) { 0.0 } else { value };
                        if value.is_nan() && $marked {
                            ((1 as $t) << (<$t>::BITS - 1)) as $widen as $out
                        } else {
                            whole(value, direction(x)) as $t as $widen as $out
                        }
                    })
                };
            }
            match ($float, marked) {
                (Type::F16, false) => run!(u16, a, false, f16_to_f32(a).into()),
                (Type::F16, true) => run!(u16, a, true, f16_to_f32(a).into()),
                (Type::Bf16, false) => run!(u16, a, false, bf16_to_f32(a).into()),
                (Type::Bf16, true) => run!(u16, a, true, bf16_to_f32(a).into()),
                (Type::F32, false) => run!(f32, a, false, a.into()),
                (Type::F32, true) => run!(f32, a, true, a.into()),
                (Type::F64, _) => run!(f64, a, true, a),
                _ => return None,
            }
        }};
    }
    Some(match to {
        Type::U8 => integer!(from, u8, u32, u32),
        Type::S8 => integer!(from, i8, u32, i32),
        Type::U16 => integer!(from, u16, u32, u32),
        Type::S16 => integer!(from, i16, u32, i32),
        Type::U32 => integer!(from, u32, u32, u32),
        Type::S32 => integer!(from, i32, u32, i32),
        Type::U64 => integer!(from, u64, u64, u64),
        Type::S64 => integer!(from, i64, u64, i64),
        _ => return None,
    })
}

impl<'a> Lowering<'a> {
    pub fn convert(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        let [to, from] = opcode.types[..] else {
            return Err(opcode.unknown("it needs two types"));
        };
        let integral = opcode.pick(|m| {
            Some(match m {
                "rni" => Rounding::Nearest,
                "rzi" => Rounding::Zero,
                "rmi" => Rounding::Down,
                "rpi" => Rounding::Up,
                _ => return None,
            })
        });
        let rounding = integral.or(opcode.rounding()).unwrap_or(Rounding::Nearest);
        let index = DIRECTIONS.iter().position(|d| *d == rounding).unwrap_or(0);
        let sat = opcode.take("sat");
        let flags = u32::from(sat) * SATURATE
            + u32::from(opcode.take("ftz")) * FTZ
            + u32::from(opcode.take("relu")) * RELU
            + u32::from(opcode.take("satfinite")) * FINITE
            + DIRECTION * index as u32;
        let refuse = |opcode: &Opcode| opcode.unknown("no such conversion");
        if operands.len() == 3 {
            let run = pair(to)
                .filter(|_| from == Type::F32)
                .ok_or_else(|| refuse(opcode))?;
            let a = self.source(&operands[1], from, line)?;
            let b = self.source(&operands[2], from, line)?;
            let d = self.destination(&operands[0], to, line)?;
            return Ok(Action::Alu(
                run,
                Args {
                    d,
                    a,
                    b,
                    c: 0,
                    flags,
                },
            ));
        }
        Self::count(opcode, operands, 2)?;
        let run = match (to.float() || to == Type::Tf32, from.float()) {
            (false, false) => match repack(to, from) {
                Some(run) => Some(run),
                None => integers(to, from, sat),
            },
            (true, false) => from_integer(to, from, rounding),
            (false, true) => to_integer(to, from),
            (true, true) => floats(to, from, integral.is_some(), flags),
        };
        let run = run.ok_or_else(|| refuse(opcode))?;
        // Registers may be wider than the types; upper bits of a source are not looked at.
        let (mut a, own) = self.loose_source(&operands[1], from, line)?;
        if own.bytes() > 4 && !wide(from) {
            let low = self.row(1);
            let args = Args {
                d: low,
                a,
                ..Args::default()
            };
            self.emit(
                Action::Alu(lanes!(u32: |a: u64| a as u32), args),
                Guard::Always,
                line,
            );
            a = low;
        }
        if own.bytes() <= 4 && wide(from) {
            return Err(opcode.unknown(&format!("a source in a register of type {own:?}")));
        }
        let (d, own) = self.result(&operands[0], line)?;
        let sink = matches!(operands[0], Operand::Name("_"));
        if !sink && (own.bytes() > 4) != wide(to) {
            return Err(opcode.unknown(&format!("a result in a register of type {own:?}")));
        }
        Ok(Action::Alu(
            run,
            Args {
                d,
                a,
                b: 0,
                c: 0,
                flags,
            },
        ))
    }
}
