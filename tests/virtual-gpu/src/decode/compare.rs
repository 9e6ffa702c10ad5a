//! `setp` and `set`.

// With NaN, `!(a < b)` is not `a >= b`: the negations are meant.
#![allow(clippy::neg_cmp_op_on_partial_ord, clippy::double_comparisons)]

use super::{Lowering, Opcode};
use crate::exec::floats::{bf16_to_f32, f16_to_f32, flush};
use crate::exec::kernel::{Action, Guard};
use crate::exec::lanes::{Alu, Args, alu, test2};
use crate::exec::registers::Registers;
use crate::ptx::{Operand, PtxError, Type};

const FTZ: u32 = 1;
const COMBINE: u32 = 2;
const NEGATE: u32 = 8;
/// The slot of the second result, above the flags.
const SECOND: u32 = 16;

/// Writes `p = test op c` and, where wanted, `q = !test op c`.
fn settle(r: &mut Registers, x: &Args, mask: u32, bits: u32) {
    let c = r.predicates[x.c as usize];
    let c = if x.flags & NEGATE != 0 { !c } else { c };
    let combine = |bits: u32| match x.flags / COMBINE % 4 {
        1 => bits & c,
        2 => bits | c,
        3 => bits ^ c,
        _ => bits,
    };
    let (p, q) = (combine(bits), combine(!bits));
    for (slot, value) in [(x.flags / SECOND, q), (x.d, p)] {
        let target = &mut r.predicates[slot as usize];
        *target = *target & !mask | value & mask;
    }
}

macro_rules! compared {
    ($t:ty, |$x:ident, $a:ident, $b:ident| $test:expr) => {
        alu!(|r, x, mask| {
            let $x = x;
            let bits = test2::<$t, $t>(r, x, |$a, $b| $test);
            settle(r, x, mask, bits);
        })
    };
}

macro_rules! integers {
    ($test:expr, $t:ty) => {
        Some(match $test {
            "eq" => compared!($t, |_x, a, b| a == b),
            "ne" => compared!($t, |_x, a, b| a != b),
            "lt" | "lo" => compared!($t, |_x, a, b| a < b),
            "le" | "ls" => compared!($t, |_x, a, b| a <= b),
            "gt" | "hi" => compared!($t, |_x, a, b| a > b),
            "ge" | "hs" => compared!($t, |_x, a, b| a >= b),
            _ => return None,
        })
    };
}

/// `$wide` makes an f32 or f64 of a lane's bits.
macro_rules! floats {
    ($test:expr, $t:ty, $wide:expr) => {
        Some(match $test {
            "eq" => compared!($t, |x, a, b| $wide(x, a) == $wide(x, b)),
            "ne" => compared!($t, |x, a, b| {
                let (a, b) = ($wide(x, a), $wide(x, b));
                a < b || a > b
            }),
            "lt" => compared!($t, |x, a, b| $wide(x, a) < $wide(x, b)),
            "le" => compared!($t, |x, a, b| $wide(x, a) <= $wide(x, b)),
            "gt" => compared!($t, |x, a, b| $wide(x, a) > $wide(x, b)),
            "ge" => compared!($t, |x, a, b| $wide(x, a) >= $wide(x, b)),
            "equ" => compared!($t, |x, a, b| {
                let (a, b) = ($wide(x, a), $wide(x, b));
                !(a < b || a > b)
            }),
            "neu" => compared!($t, |x, a, b| $wide(x, a) != $wide(x, b)),
            "ltu" => compared!($t, |x, a, b| !($wide(x, a) >= $wide(x, b))),
            "leu" => compared!($t, |x, a, b| !($wide(x, a) > $wide(x, b))),
            "gtu" => compared!($t, |x, a, b| !($wide(x, a) <= $wide(x, b))),
            "geu" => compared!($t, |x, a, b| !($wide(x, a) < $wide(x, b))),
            "num" => compared!($t, |x, a, b| !$wide(x, a).is_nan() && !$wide(x, b).is_nan()),
            "nan" => compared!($t, |x, a, b| $wide(x, a).is_nan() || $wide(x, b).is_nan()),
            _ => return None,
        })
    };
}

#[inline(always)]
fn single(x: &Args, a: f32) -> f32 {
    if x.flags & FTZ != 0 { flush(a) } else { a }
}

#[inline(always)]
fn double(_: &Args, a: f64) -> f64 {
    a
}

#[inline(always)]
fn half(_: &Args, a: u16) -> f32 {
    f16_to_f32(a)
}

#[inline(always)]
fn brain(_: &Args, a: u16) -> f32 {
    bf16_to_f32(a)
}

const TESTS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu",
    "geu", "num", "nan",
];

fn function(test: &str, ty: Type) -> Option<Alu> {
    match ty {
        Type::U16 => integers!(test, u16),
        Type::S16 => integers!(test, i16),
        Type::U32 => integers!(test, u32),
        Type::S32 => integers!(test, i32),
        Type::U64 => integers!(test, u64),
        Type::S64 => integers!(test, i64),
        Type::B16 if matches!(test, "eq" | "ne") => integers!(test, u16),
        Type::B32 if matches!(test, "eq" | "ne") => integers!(test, u32),
        Type::B64 if matches!(test, "eq" | "ne") => integers!(test, u64),
        Type::F32 => floats!(test, f32, single),
        Type::F64 => floats!(test, f64, double),
        Type::F16 => floats!(test, u16, half),
        Type::Bf16 => floats!(test, u16, brain),
        _ => None,
    }
}

impl<'a> Lowering<'a> {
    pub fn compare(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        let ty = opcode.ty()?;
        let test = opcode.pick(|m| TESTS.iter().find(|t| **t == m).copied());
        let test = test.ok_or_else(|| opcode.unknown("its comparison is missing"))?;
        let combine = opcode.pick(|m| ["and", "or", "xor"].iter().position(|c| *c == m));
        let ftz = opcode.take("ftz");
        let run =
            function(test, ty).ok_or_else(|| opcode.unknown("no such comparison for this type"))?;
        let wanted = if combine.is_some() { 4 } else { 3 };
        Self::count(opcode, operands, wanted)?;
        let mut args = Args {
            flags: u32::from(ftz) * FTZ,
            ..Args::default()
        };
        args.a = self.source(&operands[1], ty, line)?;
        args.b = self.source(&operands[2], ty, line)?;
        if let Some(how) = combine {
            let (slot, negated) = self.condition(&operands[3], line)?;
            args.c = slot;
            args.flags += COMBINE * (how as u32 + 1) + u32::from(negated) * NEGATE;
        }
        let (p, q) = match (&operands[0], opcode.base) {
            (_, "set") => (self.predicate(&Operand::Name("_"), line)?, None),
            (Operand::Pair(p, q), _) => (
                self.predicate(&Operand::Name(p), line)?,
                Some(self.predicate(&Operand::Name(q), line)?),
            ),
            (p, _) => (self.predicate(p, line)?, None),
        };
        let unused = match q {
            Some(q) => q,
            None => self.unused_predicate(),
        };
        args.d = p;
        args.flags += SECOND * unused;
        if opcode.base == "setp" {
            return Ok(Action::Alu(run, args));
        }
        // `set`: the test, then one of two constants.
        self.emit(Action::Alu(run, args), Guard::Always, line);
        let result = opcode.types[0];
        let (one, bytes) = match result {
            Type::F32 => (1f32.to_bits().into(), 4),
            Type::F16 => (0x3c00, 2),
            Type::Bf16 => (0x3f80, 2),
            Type::U32 | Type::S32 => (u64::from(u32::MAX), 4),
            Type::U16 | Type::S16 => (u64::from(u16::MAX), 2),
            _ => return Err(opcode.unknown("no such result")),
        };
        let _ = bytes;
        let select = Args {
            d: self.destination(&operands[0], result, line)?,
            a: self.constant(one, false),
            b: self.constant(0, false),
            c: p,
            flags: 0,
        };
        Ok(Action::Alu(super::moves::select(false), select))
    }
}
