//! Bit fields, counts, shifts over two words, permutations, truth tables and dot products.

use super::Opcode;
use super::arithmetic::Form;
use crate::exec::lanes::{Alu, alu, lanes};
use crate::exec::registers::Lane;
use crate::ptx::{PtxError, Type};

const WORD: u32 = 32;

/// Bit fields, counts, permutations and dot products.
pub fn form(opcode: &mut Opcode, ty: Type) -> Result<Option<Form>, PtxError> {
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
                Type::U32 => {
                    lanes!(u32: |a: u32, p: u32, n: u32| extract(a.into(), p, n, WORD, false) as u32)
                }
                Type::S32 => {
                    lanes!(u32: |a: u32, p: u32, n: u32| extract(a.into(), p, n, WORD, true) as u32)
                }
                Type::U64 => {
                    lanes!(u64: |a: u64, p: u32, n: u32| extract(a, p, n, 2 * WORD, false))
                }
                Type::S64 => lanes!(u64: |a: u64, p: u32, n: u32| extract(a, p, n, 2 * WORD, true)),
                _ => return Ok(None),
            };
            Form::new(run, ty, &[ty, Type::U32, Type::U32])
        }
        "prmt" => {
            let mode = opcode.pick(|m| {
                ["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]
                    .iter()
                    .position(|known| *known == m)
            });
            let run = lanes!(x; u32: |a: u32, b: u32, c: u32| permute(a, b, c, x.flags));
            Form::flagged(
                run,
                ty,
                &[ty, ty, Type::U32],
                mode.map_or(0, |m| m as u32 + 1),
            )
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
            let [first, second] = opcode.types[..] else {
                return Ok(None);
            };
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
    let field = if there == 0 {
        0
    } else {
        a >> p & u64::MAX >> (2 * WORD - there)
    };
    let sign = signed && n != 0 && a >> (p + n - 1).min(bits - 1) & 1 != 0;
    let above = if sign {
        u64::MAX.checked_shl(there).unwrap_or(0)
    } else {
        0
    };
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
                let out = std::array::from_fn(|i| {
                    place(a[i].into(), b[i].into(), p[i], n[i], <$t>::BITS) as $t
                });
                <$t>::store(r, x.d, out, mask);
            })
        };
    }
    if wide { insert!(u64) } else { insert!(u32) }
}
