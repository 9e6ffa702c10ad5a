//! `cvt` from float to float: rounding to formats and to whole numbers, and packed pairs.

use super::convert::{FINITE, FTZ, RELU, SATURATE, direction, whole};
use super::float::saturate;
use crate::exec::floats::{BF16, E4M3, E5M2, F16, F32, Format, Rounding, TF32};
use crate::exec::floats::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16, flush};
use crate::exec::lanes::{Alu, Args, lanes};
use crate::ptx::Type;

/// A float, whatever its format, as f64.
macro_rules! by_float {
    ($ty:expr, $a:ident: $t:ident, $value:ident => $e:expr, $wrap:ident) => {
        match $ty {
            Type::F16 => $wrap!(u16, $a, $value, f64::from(f16_to_f32($a)), $e),
            Type::Bf16 => $wrap!(u16, $a, $value, f64::from(bf16_to_f32($a)), $e),
            Type::F32 => $wrap!(f32, $a, $value, f64::from($a), $e),
            Type::F64 => $wrap!(f64, $a, $value, $a, $e),
            _ => return None,
        }
    };
}

/// Float to float. `integral` asks for a whole number of the same type.
pub fn floats(to: Type, from: Type, integral: bool, flags: u32) -> Option<Alu> {
    macro_rules! value {
        ($lane:ty, $a:ident, $value:ident, $wide:expr, $e:expr) => {
            lanes!(x; u64: |$a: $lane| {
                let $value: f64 = $wide;
                $e(x, $value)
            })
        };
    }
    macro_rules! word {
        ($lane:ty, $a:ident, $value:ident, $wide:expr, $e:expr) => {
            lanes!(x; u32: |$a: $lane| {
                let $value: f64 = $wide;
                $e(x, $value)
            })
        };
    }
    if integral {
        return Some(match (to, from) {
            (Type::F32, Type::F32) => {
                by_float!(from, a: T, v => |x: &Args, v| (adjusted(x, whole(seen(x, v), direction(x))) as f32).to_bits(), word)
            }
            (Type::F64, Type::F64) => {
                by_float!(from, a: T, v => |x: &Args, v| adjusted(x, whole(v, direction(x))).to_bits(), value)
            }
            (Type::F16, Type::F16) => {
                by_float!(from, a: T, v => |x: &Args, v| F16.encode(whole(v, direction(x)), Rounding::Nearest, false), word)
            }
            (Type::Bf16, Type::Bf16) => {
                by_float!(from, a: T, v => |x: &Args, v| BF16.encode(whole(v, direction(x)), Rounding::Nearest, false), word)
            }
            _ => return None,
        });
    }
    Some(match (to, from) {
        // The common ones, without detours.
        (Type::F16, Type::F32) if flags == 0 => lanes!(u32: |a: f32| f32_to_f16(a).into()),
        (Type::Bf16, Type::F32) if flags == 0 => lanes!(u32: |a: f32| f32_to_bf16(a).into()),
        (Type::F32, Type::F16) if flags == 0 => lanes!(f32: |a: u16| f16_to_f32(a)),
        (Type::F32, Type::Bf16) if flags == 0 => lanes!(f32: |a: u16| bf16_to_f32(a)),
        (Type::F64, _) => {
            by_float!(from, a: T, v => |x: &Args, v| adjusted(x, seen(x, v)).to_bits(), value)
        }
        (Type::F32, _) => {
            by_float!(from, a: T, v => |x: &Args, v| left(x, F32.encode(adjusted(x, seen(x, v)), direction(x), false)), word)
        }
        (Type::F16, _) => by_float!(from, a: T, v => |x: &Args, v| small(x, F16, seen(x, v)), word),
        (Type::Bf16, _) => {
            by_float!(from, a: T, v => |x: &Args, v| small(x, BF16, seen(x, v)), word)
        }
        (Type::Tf32 | Type::B32, Type::F32) => lanes!(x; u32: |a: f32| {
            // tf32 lies in the upper bits of a word.
            small(x, TF32, a.into()) << (F32.mantissa_bits - TF32.mantissa_bits)
        }),
        _ => return None,
    })
}

/// A source under `.ftz`.
fn seen(x: &Args, value: f64) -> f64 {
    if x.flags & FTZ != 0 && value.abs() < f64::from(f32::MIN_POSITIVE) {
        0f64.copysign(value)
    } else {
        value
    }
}

fn left(x: &Args, bits: u32) -> u32 {
    if x.flags & FTZ != 0 {
        flush(f32::from_bits(bits)).to_bits()
    } else {
        bits
    }
}

fn adjusted(x: &Args, value: f64) -> f64 {
    if x.flags & SATURATE != 0 {
        saturate(value)
    } else {
        value
    }
}

fn small(x: &Args, format: Format, value: f64) -> u32 {
    let value = adjusted(x, value);
    let value = if x.flags & RELU != 0 && value < 0.0 {
        0.0
    } else {
        value
    };
    format.encode(value, direction(x), x.flags & FINITE != 0)
}

/// Two f32 to a packed pair: the first operand is the upper half.
pub fn pair(to: Type) -> Option<Alu> {
    macro_rules! pair {
        ($format:expr, $bits:expr) => {
            lanes!(x; u32: |a: f32, b: f32| small(x, $format, a.into()) << $bits | small(x, $format, b.into()))
        };
    }
    Some(match to {
        Type::F16x2 => pair!(F16, 16),
        Type::Bf16x2 => pair!(BF16, 16),
        Type::E4m3x2 => pair!(E4M3, 8),
        Type::E5m2x2 => pair!(E5M2, 8),
        _ => return None,
    })
}

/// A packed pair to another.
pub fn repack(to: Type, from: Type) -> Option<Alu> {
    macro_rules! repack {
        ($to:expr, $to_bits:expr, $from:expr, $from_bits:expr) => {
            lanes!(x; u32: |a: u32| {
                let part = |bits: u32| small(x, $to, $from.decode(bits & ((1 << $from_bits) - 1)));
                part(a >> $from_bits) << $to_bits | part(a)
            })
        };
    }
    Some(match (to, from) {
        (Type::F16x2, Type::E4m3x2) => repack!(F16, 16, E4M3, 8),
        (Type::F16x2, Type::E5m2x2) => repack!(F16, 16, E5M2, 8),
        (Type::E4m3x2, Type::F16x2) => repack!(E4M3, 8, F16, 16),
        (Type::E5m2x2, Type::F16x2) => repack!(E5M2, 8, F16, 16),
        _ => return None,
    })
}
