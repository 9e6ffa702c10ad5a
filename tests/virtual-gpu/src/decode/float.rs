//! Arithmetic of f32 and f64: exact to the manual's rounding, approximations within its bounds.

use super::Opcode;
use super::arithmetic::Form;
use crate::exec::approximate as approx;
use crate::exec::directed;
use crate::exec::floats::{Rounding, flush};
use crate::exec::lanes::{Args, lanes};
use crate::ptx::{PtxError, Type};

const FTZ: u32 = 1;
const SATURATE: u32 = 2;
const NAN: u32 = 4;
const DIRECTION: u32 = 8;

fn direction(x: &Args) -> Rounding {
    match x.flags / DIRECTION {
        1 => Rounding::Zero,
        2 => Rounding::Down,
        3 => Rounding::Up,
        _ => Rounding::Nearest,
    }
}

fn direction_flag(rounding: Rounding) -> u32 {
    DIRECTION
        * match rounding {
            Rounding::Nearest | Rounding::Away => 0,
            Rounding::Zero => 1,
            Rounding::Down => 2,
            Rounding::Up => 3,
        }
}

/// A source as the instruction sees it.
#[inline(always)]
fn seen(x: &Args, value: f32) -> f32 {
    if x.flags & FTZ != 0 {
        flush(value)
    } else {
        value
    }
}

/// A result as the instruction leaves it.
#[inline(always)]
fn left(x: &Args, value: f32) -> f32 {
    let value = if x.flags & FTZ != 0 {
        flush(value)
    } else {
        value
    };
    if x.flags & SATURATE != 0 {
        saturate(value.into()) as f32
    } else {
        value
    }
}

/// Into 0..=1; NaN becomes 0.
pub fn saturate(value: f64) -> f64 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}

/// The smaller; a NaN only if both are, or if `spread` asks for it. -0 is below +0.
macro_rules! extreme {
    ($t:ty, $a:expr, $b:expr, $spread:expr, $greater:expr) => {{
        let (a, b): ($t, $t) = ($a, $b);
        if a.is_nan() || b.is_nan() {
            if $spread || a.is_nan() && b.is_nan() {
                <$t>::NAN
            } else if a.is_nan() {
                b
            } else {
                a
            }
        } else if a == b {
            // Equal but for the sign of zero.
            if a.is_sign_negative() != $greater {
                a
            } else {
                b
            }
        } else if (a > b) == $greater {
            a
        } else {
            b
        }
    }};
}

pub fn form(opcode: &mut Opcode, ty: Type) -> Result<Option<Form>, PtxError> {
    match ty {
        Type::F32 => single(opcode),
        Type::F64 => double(opcode),
        _ => Ok(None),
    }
}

fn single(opcode: &mut Opcode) -> Result<Option<Form>, PtxError> {
    let ty = Type::F32;
    let ftz = opcode.take("ftz");
    let sat = opcode.take("sat");
    let rounding = opcode.rounding();
    let approximate = opcode.take("approx");
    let full = opcode.take("full");
    let mut flags = u32::from(ftz) * FTZ + u32::from(sat) * SATURATE;
    flags += rounding.map_or(0, direction_flag);
    let plain = flags == 0;
    let (run, sources) = match opcode.base {
        "add" if plain => (lanes!(f32: |a: f32, b: f32| a + b), 2),
        "sub" if plain => (lanes!(f32: |a: f32, b: f32| a - b), 2),
        "mul" if plain => (lanes!(f32: |a: f32, b: f32| a * b), 2),
        "fma" | "mad" if plain => (lanes!(f32: |a: f32, b: f32, c: f32| a.mul_add(b, c)), 3),
        "add" => (
            lanes!(x; f32: |a: f32, b: f32| left(x, directed::add_f32(seen(x, a), seen(x, b), direction(x)))),
            2,
        ),
        "sub" => (
            lanes!(x; f32: |a: f32, b: f32| left(x, directed::add_f32(seen(x, a), -seen(x, b), direction(x)))),
            2,
        ),
        "mul" => (
            lanes!(x; f32: |a: f32, b: f32| left(x, directed::mul_f32(seen(x, a), seen(x, b), direction(x)))),
            2,
        ),
        "fma" | "mad" => (
            lanes!(x; f32: |a: f32, b: f32, c: f32| left(x, directed::fma_f32(seen(x, a), seen(x, b), seen(x, c), direction(x)))),
            3,
        ),
        "div" if approximate || full => (
            lanes!(x; f32: |a: f32, b: f32| left(x, approx::divide(seen(x, a), seen(x, b)))),
            2,
        ),
        "div" if rounding.is_some() => (
            lanes!(x; f32: |a: f32, b: f32| left(x, directed::div_f32(seen(x, a), seen(x, b), direction(x)))),
            2,
        ),
        "rcp" if approximate => (
            lanes!(x; f32: |a: f32| left(x, approx::reciprocal(seen(x, a)))),
            1,
        ),
        "rcp" if rounding.is_some() => (
            lanes!(x; f32: |a: f32| left(x, directed::div_f32(1.0, seen(x, a), direction(x)))),
            1,
        ),
        "sqrt" if approximate => (
            lanes!(x; f32: |a: f32| left(x, approx::root(seen(x, a)))),
            1,
        ),
        "sqrt" if rounding.is_some() => (
            lanes!(x; f32: |a: f32| left(x, directed::sqrt_f32(seen(x, a), direction(x)))),
            1,
        ),
        "rsqrt" if approximate => (
            lanes!(x; f32: |a: f32| left(x, approx::reciprocal_root(seen(x, a)))),
            1,
        ),
        "ex2" if approximate => (
            lanes!(x; f32: |a: f32| left(x, approx::power_of_two(seen(x, a)))),
            1,
        ),
        "lg2" if approximate => (
            lanes!(x; f32: |a: f32| left(x, approx::logarithm(seen(x, a)))),
            1,
        ),
        "sin" if approximate => (
            lanes!(x; f32: |a: f32| left(x, approx::sine(seen(x, a)))),
            1,
        ),
        "cos" if approximate => (
            lanes!(x; f32: |a: f32| left(x, approx::cosine(seen(x, a)))),
            1,
        ),
        "tanh" if approximate => (lanes!(f32: |a: f32| approx::hyperbolic_tangent(a)), 1),
        "abs" => (lanes!(x; f32: |a: f32| left(x, seen(x, a).abs())), 1),
        "neg" => (lanes!(x; f32: |a: f32| left(x, -seen(x, a))), 1),
        // The sign of the first, the magnitude of the second.
        "copysign" => (lanes!(f32: |a: f32, b: f32| b.copysign(a)), 2),
        "min" | "max" => {
            flags += u32::from(opcode.take("NaN")) * NAN;
            let greater = opcode.base == "max";
            let run = if greater {
                lanes!(x; f32: |a: f32, b: f32| extreme!(f32, seen(x, a), seen(x, b), x.flags & NAN != 0, true))
            } else {
                lanes!(x; f32: |a: f32, b: f32| extreme!(f32, seen(x, a), seen(x, b), x.flags & NAN != 0, false))
            };
            (run, 2)
        }
        _ => return Ok(None),
    };
    Ok(Some(Form::flagged(run, ty, &[ty; 3][..sources], flags)))
}

fn double(opcode: &mut Opcode) -> Result<Option<Form>, PtxError> {
    let ty = Type::F64;
    let ftz = opcode.take("ftz");
    let rounding = opcode.rounding();
    let approximate = opcode.take("approx");
    let flags = rounding.map_or(0, direction_flag);
    let plain = flags == 0;
    let (run, sources) = match opcode.base {
        // Approximations of 20 bits: the low word of the result is zero.
        "rcp" if approximate && ftz => (
            lanes!(f64: |a: f64| approx::coarse(1.0 / approx::flush_f64(a))),
            1,
        ),
        "rsqrt" if approximate => (
            lanes!(f64: |a: f64| approx::coarse(1.0 / approx::flush_f64(a).sqrt())),
            1,
        ),
        _ if ftz || approximate => return Ok(None),
        "add" if plain => (lanes!(f64: |a: f64, b: f64| a + b), 2),
        "sub" if plain => (lanes!(f64: |a: f64, b: f64| a - b), 2),
        "mul" if plain => (lanes!(f64: |a: f64, b: f64| a * b), 2),
        "fma" | "mad" if plain => (lanes!(f64: |a: f64, b: f64, c: f64| a.mul_add(b, c)), 3),
        "add" => (
            lanes!(x; f64: |a: f64, b: f64| directed::add_f64(a, b, direction(x))),
            2,
        ),
        "sub" => (
            lanes!(x; f64: |a: f64, b: f64| directed::add_f64(a, -b, direction(x))),
            2,
        ),
        "mul" => (
            lanes!(x; f64: |a: f64, b: f64| directed::mul_f64(a, b, direction(x))),
            2,
        ),
        "fma" | "mad" => (
            lanes!(x; f64: |a: f64, b: f64, c: f64| directed::fma_f64(a, b, c, direction(x))),
            3,
        ),
        "div" if rounding.is_some() => (
            lanes!(x; f64: |a: f64, b: f64| directed::div_f64(a, b, direction(x))),
            2,
        ),
        "rcp" if rounding.is_some() => (
            lanes!(x; f64: |a: f64| directed::div_f64(1.0, a, direction(x))),
            1,
        ),
        "sqrt" if rounding.is_some() => (
            lanes!(x; f64: |a: f64| directed::sqrt_f64(a, direction(x))),
            1,
        ),
        "abs" => (lanes!(f64: |a: f64| a.abs()), 1),
        "neg" => (lanes!(f64: |a: f64| -a), 1),
        "copysign" => (lanes!(f64: |a: f64, b: f64| b.copysign(a)), 2),
        "min" => (
            lanes!(f64: |a: f64, b: f64| extreme!(f64, a, b, false, false)),
            2,
        ),
        "max" => (
            lanes!(f64: |a: f64, b: f64| extreme!(f64, a, b, false, true)),
            2,
        ),
        _ => return Ok(None),
    };
    Ok(Some(Form::flagged(run, ty, &[ty; 3][..sources], flags)))
}
