//! Integer and bitwise instructions.

use super::arithmetic::Form;
use super::{CARRY, Opcode};
use crate::exec::lanes::{Alu, alu, lanes};
use crate::exec::registers::{LANES, Lane};
use crate::ptx::{PtxError, Type};

/// One function for each integer type of 16, 32 and 64 bits.
macro_rules! integers {
    ($ty:expr; $t:ident => $run:expr) => {
        match $ty {
            Type::U16 => {
                type $t = u16;
                $run
            }
            Type::S16 => {
                type $t = i16;
                $run
            }
            Type::U32 | Type::B32 => {
                type $t = u32;
                $run
            }
            Type::S32 => {
                type $t = i32;
                $run
            }
            Type::U64 | Type::B64 => {
                type $t = u64;
                $run
            }
            Type::S64 => {
                type $t = i64;
                $run
            }
            _ => return Ok(None),
        }
    };
}

/// One function for each width of untyped bits.
macro_rules! words {
    ($ty:expr; $t:ident => $run:expr) => {
        match $ty {
            Type::B16 | Type::U16 | Type::S16 => {
                type $t = u16;
                $run
            }
            Type::B32 | Type::U32 | Type::S32 => {
                type $t = u32;
                $run
            }
            Type::B64 | Type::U64 | Type::S64 => {
                type $t = u64;
                $run
            }
            _ => return Ok(None),
        }
    };
}

const HALF: u32 = 16;
const WORD: u32 = 32;

pub fn form(opcode: &mut Opcode, ty: Type) -> Result<Option<Form>, PtxError> {
    let two = [ty, ty];
    let base = opcode.base;
    let run: Alu = match base {
        "add" | "sub" | "addc" | "subc" if base.ends_with('c') || opcode.take("cc") => {
            return Ok(carried(opcode, ty));
        }
        "add" if ty == Type::S32 && opcode.take("sat") => {
            lanes!(i32: |a: i32, b: i32| a.saturating_add(b))
        }
        "sub" if ty == Type::S32 && opcode.take("sat") => {
            lanes!(i32: |a: i32, b: i32| a.saturating_sub(b))
        }
        "add" => integers!(ty; T => lanes!(T: |a: T, b: T| a.wrapping_add(b))),
        "sub" => integers!(ty; T => lanes!(T: |a: T, b: T| a.wrapping_sub(b))),
        "min" => integers!(ty; T => lanes!(T: |a: T, b: T| a.min(b))),
        "max" => integers!(ty; T => lanes!(T: |a: T, b: T| a.max(b))),
        // By zero: all ones, and the remainder is the dividend.
        "div" => {
            integers!(ty; T => lanes!(T: |a: T, b: T| if b == 0 { (0 as T).wrapping_sub(1) } else { a.wrapping_div(b) }))
        }
        "rem" => {
            integers!(ty; T => lanes!(T: |a: T, b: T| if b == 0 { a } else { a.wrapping_rem(b) }))
        }
        "mul" | "mad" | "mul24" | "mad24" | "madc" => return multiply(opcode, ty),
        "sad" => {
            let run = match ty {
                Type::S32 => lanes!(u32: |a: i32, b: i32, c: u32| a.abs_diff(b).wrapping_add(c)),
                Type::U32 => lanes!(u32: |a: u32, b: u32, c: u32| a.abs_diff(b).wrapping_add(c)),
                _ => return Ok(None),
            };
            return Ok(Some(Form::new(run, ty, &[ty, ty, ty])));
        }
        "abs" | "neg" if ty.signed() => {
            let run = match (opcode.base, ty) {
                ("abs", Type::S16) => lanes!(i16: |a: i16| a.wrapping_abs()),
                ("abs", Type::S32) => lanes!(i32: |a: i32| a.wrapping_abs()),
                ("abs", _) => lanes!(i64: |a: i64| a.wrapping_abs()),
                (_, Type::S16) => lanes!(i16: |a: i16| a.wrapping_neg()),
                (_, Type::S32) => lanes!(i32: |a: i32| a.wrapping_neg()),
                _ => lanes!(i64: |a: i64| a.wrapping_neg()),
            };
            return Ok(Some(Form::new(run, ty, &[ty])));
        }
        "and" => words!(ty; T => lanes!(T: |a: T, b: T| a & b)),
        "or" => words!(ty; T => lanes!(T: |a: T, b: T| a | b)),
        "xor" => words!(ty; T => lanes!(T: |a: T, b: T| a ^ b)),
        "not" => {
            return Ok(Some(Form::new(
                words!(ty; T => lanes!(T: |a: T| !a)),
                ty,
                &[ty],
            )));
        }
        "cnot" => {
            return Ok(Some(Form::new(
                words!(ty; T => lanes!(T: |a: T| T::from(a == 0))),
                ty,
                &[ty],
            )));
        }
        "shl" => {
            let run =
                words!(ty; T => lanes!(T: |a: T, b: u32| if b < T::BITS { a << b } else { 0 }));
            return Ok(Some(Form::new(run, ty, &[ty, Type::U32])));
        }
        "shr" => {
            let run = match ty {
                Type::S16 => lanes!(i16: |a: i16, b: u32| a >> b.min(HALF - 1)),
                Type::S32 => lanes!(i32: |a: i32, b: u32| a >> b.min(WORD - 1)),
                Type::S64 => lanes!(i64: |a: i64, b: u32| a >> b.min(2 * WORD - 1)),
                _ => {
                    words!(ty; T => lanes!(T: |a: T, b: u32| if b < T::BITS { a >> b } else { 0 }))
                }
            };
            return Ok(Some(Form::new(run, ty, &[ty, Type::U32])));
        }
        _ => return super::bits::form(opcode, ty),
    };
    Ok(Some(Form::new(run, ty, &two)))
}

/// Additions that leave or take a carry, lane by lane.
fn carried(opcode: &mut Opcode, ty: Type) -> Option<Form> {
    const LEAVE: u32 = 1;
    const TAKE: u32 = 2;
    const SUBTRACT: u32 = 4;
    macro_rules! chain {
        ($t:ty) => {
            alu!(|r, x, mask| {
                let (a, mut b) = (<$t>::load(r, x.a), <$t>::load(r, x.b));
                let before = r.predicates[CARRY as usize];
                let mut carry = before;
                let mut sums = [0; LANES];
                for lane in 0..LANES {
                    // a - b - borrow is a + !b + 1 - borrow; the flag holds the borrow.
                    let subtract = x.flags & SUBTRACT != 0;
                    let held = x.flags & TAKE != 0 && before >> lane & 1 != 0;
                    if subtract {
                        b[lane] = !b[lane];
                    }
                    let (sum, first) = a[lane].overflowing_add(b[lane]);
                    let (sum, second) = sum.overflowing_add(<$t>::from(held != subtract));
                    sums[lane] = sum;
                    let out = (first | second) != subtract;
                    carry = carry & !(1 << lane) | u32::from(out) << lane;
                }
                <$t>::store(r, x.d, sums, mask);
                if x.flags & LEAVE != 0 {
                    r.predicates[CARRY as usize] = before & !mask | carry & mask;
                }
            })
        };
    }
    let leave = opcode.take("cc") || !opcode.base.ends_with('c');
    let take = opcode.base.ends_with('c');
    let run = match ty {
        Type::U32 | Type::S32 => chain!(u32),
        Type::U64 | Type::S64 => chain!(u64),
        _ => return None,
    };
    let subtract = opcode.base.starts_with("sub");
    let flags = u32::from(leave) * LEAVE + u32::from(take) * TAKE + u32::from(subtract) * SUBTRACT;
    Some(Form::flagged(run, ty, &[ty, ty], flags))
}

/// `mul`, `mad` and `madc` with the part of the product that is asked for.
fn multiply(opcode: &mut Opcode, ty: Type) -> Result<Option<Form>, PtxError> {
    const LEAVE: u32 = 1;
    const TAKE: u32 = 2;
    const HIGH: u32 = 4;
    let wide = opcode.take("wide");
    let high = opcode.take("hi");
    if !wide && !high && !opcode.take("lo") {
        return Ok(None); // a float's
    }
    let chain = opcode.base == "madc";
    let leave = opcode.take("cc");
    if chain || leave {
        macro_rules! chain {
            ($t:ty, $double:ty) => {
                alu!(|r, x, mask| {
                    let (a, b, c) = (<$t>::load(r, x.a), <$t>::load(r, x.b), <$t>::load(r, x.c));
                    let before = r.predicates[CARRY as usize];
                    let mut carry = before;
                    let mut sums = [0; LANES];
                    for lane in 0..LANES {
                        let product = <$double>::from(a[lane]) * <$double>::from(b[lane]);
                        let part = if x.flags & HIGH != 0 {
                            (product >> <$t>::BITS) as $t
                        } else {
                            product as $t
                        };
                        let held = x.flags & TAKE != 0 && before >> lane & 1 != 0;
                        let (sum, first) = part.overflowing_add(c[lane]);
                        let (sum, second) = sum.overflowing_add(<$t>::from(held));
                        sums[lane] = sum;
                        carry = carry & !(1 << lane) | u32::from(first | second) << lane;
                    }
                    <$t>::store(r, x.d, sums, mask);
                    if x.flags & LEAVE != 0 {
                        r.predicates[CARRY as usize] = before & !mask | carry & mask;
                    }
                })
            };
        }
        // The low half is the same for signed factors; the high one is not.
        let run = match ty {
            Type::U32 => chain!(u32, u64),
            Type::U64 => chain!(u64, u128),
            Type::S32 if !high => chain!(u32, u64),
            Type::S64 if !high => chain!(u64, u128),
            _ => return Ok(None),
        };
        let flags = u32::from(leave) * LEAVE + u32::from(chain) * TAKE + u32::from(high) * HIGH;
        return Ok(Some(Form::flagged(run, ty, &[ty, ty, ty], flags)));
    }
    let add = opcode.base == "mad";
    if opcode.base.ends_with("24") {
        let run = match (opcode.base, ty, high) {
            ("mul24", Type::U32, false) => {
                lanes!(u32: |a: u32, b: u32| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff))
            }
            ("mul24", Type::S32, false) => {
                lanes!(i32: |a: i32, b: i32| (a << 8 >> 8).wrapping_mul(b << 8 >> 8))
            }
            _ => return Ok(None),
        };
        return Ok(Some(Form::new(run, ty, &[ty, ty])));
    }
    macro_rules! product {
        ($t:ty, $double:ty) => {
            match (wide, high, add) {
                (true, _, false) => lanes!($double: |a: $t, b: $t| <$double>::from(a).wrapping_mul(b.into())),
                (true, _, true) => lanes!($double: |a: $t, b: $t, c: $double| <$double>::from(a).wrapping_mul(b.into()).wrapping_add(c)),
                _ => product!(narrow $t, $double),
            }
        };
        (narrow $t:ty, $double:ty) => {
            match (high, add) {
                (true, false) => lanes!($t: |a: $t, b: $t| (<$double>::from(a).wrapping_mul(b.into()) >> <$t>::BITS) as $t),
                (true, true) => lanes!($t: |a: $t, b: $t, c: $t| ((<$double>::from(a).wrapping_mul(b.into()) >> <$t>::BITS) as $t).wrapping_add(c)),
                (false, false) => lanes!($t: |a: $t, b: $t| a.wrapping_mul(b)),
                (false, true) => lanes!($t: |a: $t, b: $t, c: $t| a.wrapping_mul(b).wrapping_add(c)),
            }
        };
    }
    let (run, double) = match ty {
        Type::U16 => (product!(u16, u32), Type::U32),
        Type::S16 => (product!(i16, i32), Type::S32),
        Type::U32 => (product!(u32, u64), Type::U64),
        Type::S32 => (product!(i32, i64), Type::S64),
        Type::U64 if !wide => (product!(narrow u64, u128), ty),
        Type::S64 if !wide => (product!(narrow i64, i128), ty),
        _ => return Ok(None),
    };
    let result = if wide { double } else { ty };
    let sources: &[Type] = if add { &[ty, ty, result] } else { &[ty, ty] };
    Ok(Some(Form::new(run, result, sources)))
}
