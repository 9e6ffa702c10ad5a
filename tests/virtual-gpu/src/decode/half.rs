//! Arithmetic of f16, bf16 and their pairs. Sums and products are exact in f64, then rounded once.

use super::Opcode;
use super::arithmetic::Form;
use crate::exec::approximate as approx;
use crate::exec::floats::{BF16, F16, Rounding};
use crate::exec::floats::{add_to_odd, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::exec::lanes::{Args, lanes};
use crate::ptx::{PtxError, Type};

const FTZ: u32 = 1;
const SATURATE: u32 = 2;
const RELU: u32 = 4;
const NAN: u32 = 8;
/// The operation, above the flags.
const OPERATION: u32 = 16;

const OPERATIONS: [&str; 11] = [
    "add", "sub", "mul", "fma", "min", "max", "abs", "neg", "ex2", "tanh", "mad",
];

/// One of the two formats.
trait Half {
    fn wide(bits: u16) -> f32;
    fn narrow(value: f32) -> u16;
    /// From f64, once.
    fn narrow_exact(value: f64) -> u16;
    fn flush(bits: u16) -> u16;
    const SIGN: u16 = 0x8000;
    const NAN: u16 = 0x7fff;
}

struct Ieee;
struct Brain;

impl Half for Ieee {
    #[inline(always)]
    fn wide(bits: u16) -> f32 {
        f16_to_f32(bits)
    }
    #[inline(always)]
    fn narrow(value: f32) -> u16 {
        f32_to_f16(value)
    }
    fn narrow_exact(value: f64) -> u16 {
        F16.encode(value, Rounding::Nearest, false) as u16
    }
    fn flush(bits: u16) -> u16 {
        if bits & 0x7c00 == 0 {
            bits & Self::SIGN
        } else {
            bits
        }
    }
}

impl Half for Brain {
    #[inline(always)]
    fn wide(bits: u16) -> f32 {
        bf16_to_f32(bits)
    }
    #[inline(always)]
    fn narrow(value: f32) -> u16 {
        f32_to_bf16(value)
    }
    fn narrow_exact(value: f64) -> u16 {
        BF16.encode(value, Rounding::Nearest, false) as u16
    }
    fn flush(bits: u16) -> u16 {
        bits // bf16 operations keep subnormals
    }
}

#[inline(always)]
fn compute<H: Half>(x: &Args, a: u16, b: u16, c: u16) -> u16 {
    let seen = |bits: u16| {
        if x.flags & FTZ != 0 {
            H::flush(bits)
        } else {
            bits
        }
    };
    let (a, b, c) = (seen(a), seen(b), seen(c));
    let (wa, wb) = (H::wide(a), H::wide(b));
    let spread = x.flags & NAN != 0;
    let out = match x.flags / OPERATION {
        0 => H::narrow(wa + wb),
        1 => H::narrow(wa - wb),
        2 => H::narrow(wa * wb),
        3 | 10 => H::narrow_exact(add_to_odd(f64::from(wa) * f64::from(wb), H::wide(c).into())),
        4 => extreme::<H>(a, b, wa, wb, spread, false),
        5 => extreme::<H>(a, b, wa, wb, spread, true),
        6 => a & !H::SIGN,
        7 => a ^ H::SIGN,
        8 => H::narrow(approx::power_of_two(wa)),
        _ => H::narrow(approx::hyperbolic_tangent(wa)),
    };
    let out = if x.flags & FTZ != 0 {
        H::flush(out)
    } else {
        out
    };
    let value = H::wide(out);
    if x.flags & SATURATE != 0 {
        return H::narrow(super::float::saturate(value.into()) as f32);
    }
    if x.flags & RELU != 0 && value < 0.0 {
        return 0;
    }
    out
}

#[inline(always)]
fn extreme<H: Half>(a: u16, b: u16, wa: f32, wb: f32, spread: bool, greater: bool) -> u16 {
    match (wa.is_nan(), wb.is_nan()) {
        (true, true) => H::NAN,
        (true, _) | (_, true) if spread => H::NAN,
        (true, false) => b,
        (false, true) => a,
        _ if wa == wb => {
            if (a & H::SIGN != 0) != greater {
                a
            } else {
                b
            }
        }
        _ if (wa > wb) == greater => a,
        _ => b,
    }
}

#[inline(always)]
fn pair<H: Half>(x: &Args, a: u32, b: u32, c: u32) -> u32 {
    let low = compute::<H>(x, a as u16, b as u16, c as u16);
    let high = compute::<H>(x, (a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16);
    u32::from(high) << 16 | u32::from(low)
}

pub fn form(opcode: &mut Opcode, ty: Type) -> Result<Option<Form>, PtxError> {
    if !matches!(ty, Type::F16 | Type::Bf16 | Type::F16x2 | Type::Bf16x2) {
        return Ok(None);
    }
    let Some(operation) = OPERATIONS.iter().position(|o| *o == opcode.base) else {
        return Ok(None);
    };
    match opcode.rounding() {
        None | Some(Rounding::Nearest) => {}
        Some(_) => return Err(opcode.unknown("its rounding")),
    }
    let approximate = opcode.take("approx");
    if approximate != matches!(opcode.base, "ex2" | "tanh") {
        return Ok(None);
    }
    let flags = u32::from(opcode.take("ftz")) * FTZ
        + u32::from(opcode.take("sat")) * SATURATE
        + u32::from(opcode.take("relu")) * RELU
        + u32::from(opcode.take("NaN")) * NAN
        + operation as u32 * OPERATION;
    let run = match ty {
        Type::F16 => lanes!(x; u16: |a: u16, b: u16, c: u16| compute::<Ieee>(x, a, b, c)),
        Type::Bf16 => lanes!(x; u16: |a: u16, b: u16, c: u16| compute::<Brain>(x, a, b, c)),
        Type::F16x2 => lanes!(x; u32: |a: u32, b: u32, c: u32| pair::<Ieee>(x, a, b, c)),
        _ => lanes!(x; u32: |a: u32, b: u32, c: u32| pair::<Brain>(x, a, b, c)),
    };
    let sources = match opcode.base {
        "fma" | "mad" => 3,
        "abs" | "neg" | "ex2" | "tanh" => 1,
        _ => 2,
    };
    Ok(Some(Form::flagged(run, ty, &[ty; 3][..sources], flags)))
}
