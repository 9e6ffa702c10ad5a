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
            Type::U16 => { type $t = u16; $run }
            Type::S16 => { type $t = i16; $run }
            Type::U32 | Type::B32 => { type $t = u32; $run }
            Type::S32 => { type $t = i32; $run }
            Type::U64 | Type::B64 => { type $t = u64; $run }
            Type::S64 => { type $t = i64; $run }
            _ => return Ok(None),
        }
    };
}

/// One function for each width of untyped bits.
macro_rules! words {
    ($ty:expr; $t:ident => $run:expr) => {
        match $ty {
            Type::B16 | Type::U16 | Type::S16 => { type $t = u16; $run }
            Type::B32 | Type::U32 | Type::S32 => { type $t = u32; $run }
            Type::B64 | Type::U64 | Type::S64 => { type $t = u64; $run }
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
        "add" if ty == Type::S32 && opcode.take("sat") => lanes!(i32: |a: i32, b: i32| a.saturating_add(b)),
        "sub" if ty == Type::S32 && opcode.take("sat") => lanes!(i32: |a: i32, b: i32| a.saturating_sub(b)),
        "add" => integers!(ty; T => lanes!(T: |a: T, b: T| a.wrapping_add(b))),
        "sub" => integers!(ty; T => lanes!(T: |a: T, b: T| a.wrapping_sub(b))),
        "min" => integers!(ty; T => lanes!(T: |a: T, b: T| a.min(b))),
        "max" => integers!(ty; T => lanes!(T: |a: T, b: T| a.max(b))),
        // By zero: all ones, and the remainder is the dividend.
        "div" => integers!(ty; T => lanes!(T: |a: T, b: T| if b == 0 { (0 as T).wrapping_sub(1) } else { a.wrapping_div(b) })),
        "rem" => integers!(ty; T => lanes!(T: |a: T, b: T| if b == 0 { a } else { a.wrapping_rem(b) })),
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
        "not" => return Ok(Some(Form::new(words!(ty; T => lanes!(T: |a: T| !a)), ty, &[ty]))),
        "cnot" => return Ok(Some(Form::new(words!(ty; T => lanes!(T: |a: T| T::from(a == 0))), ty, &[ty]))),
        "shl" => {
            let run = words!(ty; T => lanes!(T: |a: T, b: u32| if b < T::BITS { a << b } else { 0 }));
            return Ok(Some(Form::new(run, ty, &[ty, Type::U32])));
        }
        "shr" => {
            let run = match ty {
                Type::S16 => lanes!(i16: |a: i16, b: u32| a >> b.min(HALF - 1)),
                Type::S32 => lanes!(i32: |a: i32, b: u32| a >> b.min(WORD - 1)),
                Type::S64 => lanes!(i64: |a: i64, b: u32| a >> b.min(2 * WORD - 1)),
                _ => words!(ty; T => lanes!(T: |a: T, b: u32| if b < T::BITS { a >> b } else { 0 })),
            };
            return Ok(Some(Form::new(run, ty, &[ty, Type::U32])));
        }
        _ => return bits(opcode, ty),
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
                        let part = if x.flags & HIGH != 0 { (product >> <$t>::BITS) as $t } else { product as $t };
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
            ("mul24", Type::U32, false) => lanes!(u32: |a: u32, b: u32| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff)),
            ("mul24", Type::S32, false) => lanes!(i32: |a: i32, b: i32| (a << 8 >> 8).wrapping_mul(b << 8 >> 8)),
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

/// Bit fields, counts, permutations and dot products.
fn bits(opcode: &mut Opcode, ty: Type) -> Result<Option<Form>, PtxError> {
    let wide = ty.bytes() == 8;
    Ok(Some(match opcode.base {
        "popc" if wide => Form::new(lanes!(u32: |a: u64| a.count_ones()), Type::U32, &[ty]),
        "popc" => Form::new(lanes!(u32: |a: u32| a.count_ones()), Type::U32, &[ty]),
        "clz" if wide => Form::new(lanes!(u32: |a: u64| a.leading_zeros()), Type::U32, &[ty]),
        "clz" => Form::new(lanes!(u32: |a: u32| a.leading_zeros()), Type::U32, &[ty]),
        "brev" if wide => Form::new(lanes!(u64: |a: u64| a.reverse_bits()), ty, &[ty]),
        "brev" => Form::new(lanes!(u32: |a: u32| a.reverse_bits()), ty, &[ty]),
        "bfind" => {
            let shift = opcode.take("shiftamt");
            const SHIFT: u32 = 1;
            macro_rules! find {
                ($t:ty) => {
                    lanes!(x; u32: |a: $t| {
                        // A negative number is searched for its highest zero.
                        #[allow(unused_comparisons)]
                        let searched = if a < 0 { !a } else { a };
                        let zeros = searched.leading_zeros();
                        if searched == 0 {
                            u32::MAX
                        } else if x.flags & SHIFT != 0 {
                            zeros
                        } else {
                            <$t>::BITS - 1 - zeros
                        }
                    })
                };
            }
            let run = match ty {
                Type::U32 => find!(u32),
                Type::S32 => find!(i32),
                Type::U64 => find!(u64),
                Type::S64 => find!(i64),
                _ => return Ok(None),
            };
            Form::flagged(run, Type::U32, &[ty], u32::from(shift))
        }
        "bfe" => {
            let run = match ty {
                Type::U32 => lanes!(u32: |a: u32, p: u32, n: u32| extract(a.into(), p, n, WORD, false) as u32),
                Type::S32 => lanes!(u32: |a: u32, p: u32, n: u32| extract(a.into(), p, n, WORD, true) as u32),
                Type::U64 => lanes!(u64: |a: u64, p: u32, n: u32| extract(a, p, n, 2 * WORD, false)),
                Type::S64 => lanes!(u64: |a: u64, p: u32, n: u32| extract(a, p, n, 2 * WORD, true)),
                _ => return Ok(None),
            };
            Form::new(run, ty, &[ty, Type::U32, Type::U32])
        }
        "prmt" => {
            let mode = opcode.pick(|m| ["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"].iter().position(|known| *known == m));
            let run = lanes!(x; u32: |a: u32, b: u32, c: u32| permute(a, b, c, x.flags));
            Form::flagged(run, ty, &[ty, ty, Type::U32], mode.map_or(0, |m| m as u32 + 1))
        }
        "shf" => {
            let left = opcode.take("l");
            let clamp = opcode.take("clamp");
            if !(left || opcode.take("r")) || !(clamp || opcode.take("wrap")) {
                return Ok(None);
            }
            macro_rules! funnel {
                ($amount:expr, $shift:expr) => {
                    lanes!(u32: |a: u32, b: u32, c: u32| {
                        let both = u64::from(b) << WORD | u64::from(a);
                        let amount: fn(u32) -> u32 = $amount;
                        let shift: fn(u64, u32) -> u32 = $shift;
                        shift(both, amount(c))
                    })
                };
            }
            let run = match (left, clamp) {
                (true, true) => funnel!(|c| c.min(WORD), |v, n| (v << n >> WORD) as u32),
                (true, false) => funnel!(|c| c % WORD, |v, n| (v << n >> WORD) as u32),
                (false, true) => funnel!(|c| c.min(WORD), |v, n| (v >> n) as u32),
                (false, false) => funnel!(|c| c % WORD, |v, n| (v >> n) as u32),
            };
            Form::new(run, ty, &[ty, ty, Type::U32])
        }
        "dp4a" => {
            let [first, second] = opcode.types[..] else { return Ok(None) };
            const FIRST: u32 = 1;
            const SECOND: u32 = 2;
            let run = lanes!(x; u32: |a: u32, b: u32, c: u32| {
                let byte = |word: u32, at: u32, signed: bool| {
                    let byte = (word >> (8 * at)) as u8;
                    if signed { i32::from(byte as i8) } else { i32::from(byte) }
                };
                (0..4).fold(c, |sum, at| {
                    let product = byte(a, at, x.flags & FIRST != 0) * byte(b, at, x.flags & SECOND != 0);
                    sum.wrapping_add(product as u32)
                })
            });
            let flags = u32::from(first.signed()) * FIRST + u32::from(second.signed()) * SECOND;
            Form::flagged(run, Type::U32, &[Type::U32; 3], flags)
        }
        _ => return Ok(None),
    }))
}

/// `n` bits from position `p`; above them the field's last bit that exists, or zero.
fn extract(a: u64, p: u32, n: u32, bits: u32, signed: bool) -> u64 {
    let (p, n) = (p & 0xff, n & 0xff);
    let there = n.min(bits.saturating_sub(p));
    let field = if there == 0 { 0 } else { a >> p & u64::MAX >> (2 * WORD - there) };
    let sign = signed && n != 0 && a >> (p + n - 1).min(bits - 1) & 1 != 0;
    let above = if sign { u64::MAX.checked_shl(there).unwrap_or(0) } else { 0 };
    field | above
}

fn permute(a: u32, b: u32, c: u32, mode: u32) -> u32 {
    let bytes = (u64::from(b) << WORD | u64::from(a)).to_le_bytes();
    let select = |at: u32| -> u8 {
        let n = c & 3;
        let index = match mode {
            0 => {
                let nibble = c >> (4 * at) & 0xf;
                let byte = bytes[(nibble & 7) as usize];
                let sign = if byte & 0x80 != 0 { u8::MAX } else { 0 };
                return if nibble & 8 != 0 { sign } else { byte };
            }
            1 => n + at,
            2 => n.wrapping_sub(at) & 7,
            3 => n,
            4 => n.max(at),
            5 => n.min(at),
            _ => (c & 1) * 2 + (at & 1),
        };
        bytes[index as usize]
    };
    u32::from_le_bytes([select(0), select(1), select(2), select(3)])
}

/// `lop3`: three inputs through a table of eight bits.
pub fn table(table: u32) -> Form {
    let run = lanes!(x; u32: |a: u32, b: u32, c: u32| {
        let mut out = 0;
        for row in 0..8u32 {
            let pick = |word: u32, bit: u32| if row & bit != 0 { word } else { !word };
            if x.flags >> row & 1 != 0 {
                out |= pick(a, 4) & pick(b, 2) & pick(c, 1);
            }
        }
        out
    });
    Form::flagged(run, Type::B32, &[Type::B32; 3], table)
}

/// `bfi`: its fourth source comes in the flags, as a slot.
pub fn insert(wide: bool) -> Alu {
    fn place(a: u64, b: u64, p: u32, n: u32, bits: u32) -> u64 {
        let (p, n) = (p & 0xff, n & 0xff);
        if n == 0 || p >= bits {
            return b;
        }
        let field = (u64::MAX >> (2 * WORD - n.min(2 * WORD))) << p;
        b & !field | a << p & field
    }
    macro_rules! insert {
        ($t:ty) => {
            alu!(|r, x, mask| {
                let (a, b) = (<$t>::load(r, x.a), <$t>::load(r, x.b));
                let (p, n) = (u32::load(r, x.c), u32::load(r, x.flags));
                let out = std::array::from_fn(|i| place(a[i].into(), b[i].into(), p[i], n[i], <$t>::BITS) as $t);
                <$t>::store(r, x.d, out, mask);
            })
        };
    }
    if wide { insert!(u64) } else { insert!(u32) }
}
