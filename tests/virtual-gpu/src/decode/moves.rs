//! `mov`, `selp`, `cvta`: values from register to register.

use super::operands::wide;
use super::{Lowering, Opcode};
use crate::exec::kernel::{Action, Guard};
use crate::exec::lanes::{Alu, Args, alu, lanes};
use crate::exec::registers::{LANES, Lane, Slot};
use crate::exec::windows::{Place, resolve, window};
use crate::ptx::{Operand, PtxError, Space, Type};

pub fn select(wide: bool) -> Alu {
    macro_rules! select {
        ($t:ty) => {
            alu!(|r, x, mask| {
                let (a, b) = (<$t>::load(r, x.a), <$t>::load(r, x.b));
                let chosen = r.predicates[x.c as usize];
                let chosen = if x.flags != 0 { !chosen } else { chosen };
                let out = std::array::from_fn(|i| if chosen >> i & 1 != 0 { a[i] } else { b[i] });
                <$t>::store(r, x.d, out, mask);
            })
        };
    }
    if wide { select!(u64) } else { select!(u32) }
}

fn copy(wide: bool) -> Alu {
    if wide {
        lanes!(u64: |a: u64| a)
    } else {
        lanes!(u32: |a: u32| a)
    }
}

/// Two registers side by side: `flags` is how many bits the lower one has.
fn pack(part_bytes: usize) -> Alu {
    match part_bytes {
        1 => lanes!(u32: |a: u32, b: u32| a & 0xff | (b & 0xff) << 8),
        2 => lanes!(u32: |a: u32, b: u32| a & 0xffff | b << 16),
        _ => lanes!(u64: |a: u32, b: u32| u64::from(a) | u64::from(b) << 32),
    }
}

/// The part of a register from bit `flags` on, cut to its size by `b`.
fn unpack(from_wide: bool) -> Alu {
    if from_wide {
        lanes!(x; u32: |a: u64, b: u32| (a >> x.flags) as u32 & b)
    } else {
        lanes!(x; u32: |a: u32, b: u32| a >> x.flags & b)
    }
}

impl<'a> Lowering<'a> {
    pub fn unused_predicate(&mut self) -> Slot {
        self.predicates += 1;
        self.predicates - 1
    }

    pub fn moves(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        if opcode.base == "isspacep" {
            return self.is_in_space(opcode, operands);
        }
        let ty = opcode.ty()?;
        match opcode.base {
            "selp" => {
                Self::count(opcode, operands, 4)?;
                let (c, negated) = self.condition(&operands[3], line)?;
                let a = self.source(&operands[1], ty, line)?;
                let b = self.source(&operands[2], ty, line)?;
                let d = self.destination(&operands[0], ty, line)?;
                Ok(Action::Alu(
                    select(wide(ty)),
                    Args {
                        d,
                        a,
                        b,
                        c,
                        flags: negated.into(),
                    },
                ))
            }
            "cvta" => self.window(opcode, operands),
            _ => self.mov(opcode, operands, ty),
        }
    }

    fn mov(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
        ty: Type,
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        Self::count(opcode, operands, 2)?;
        if ty == Type::Pred {
            return self.logic(opcode, operands);
        }
        match (&operands[0], &operands[1]) {
            (Operand::Vector(parts), source) => self.unpack(parts, source, ty, line),
            (target, Operand::Vector(parts)) => self.pack(target, parts, ty, line),
            (
                target,
                Operand::Name(clock @ ("%clock" | "%clock64" | "%clock_hi" | "%globaltimer")),
            ) => {
                let _ = clock;
                Ok(Action::Clock(self.destination(target, ty, line)?, wide(ty)))
            }
            (target, source) => {
                let a = self.source(source, ty, line)?;
                let d = self.destination(target, ty, line)?;
                Ok(Action::Alu(
                    copy(wide(ty)),
                    Args {
                        d,
                        a,
                        ..Args::default()
                    },
                ))
            }
        }
    }

    fn pack(
        &mut self,
        target: &Operand<'a>,
        parts: &[Operand<'a>],
        ty: Type,
        line: u32,
    ) -> Result<Action, PtxError> {
        let part = ty.bytes() / parts.len();
        let part_type = match part {
            1 => Type::B8,
            2 => Type::B16,
            4 => Type::B32,
            _ => {
                return Err(PtxError::new(
                    line,
                    format!("{} parts do not make a {ty:?}", parts.len()),
                ));
            }
        };
        let mut slots = Vec::new();
        for operand in parts {
            slots.push(self.source(operand, part_type, line)?);
        }
        let d = self.destination(target, ty, line)?;
        let mut bytes = part;
        // Pairs of parts, then pairs of pairs.
        while slots.len() > 2 {
            let mut joined = Vec::new();
            for two in slots.chunks(2) {
                let d = self.row(1);
                let args = Args {
                    d,
                    a: two[0],
                    b: two[1],
                    ..Args::default()
                };
                self.emit(Action::Alu(pack(bytes), args), Guard::Always, line);
                joined.push(d);
            }
            slots = joined;
            bytes *= 2;
        }
        let [a, b] = slots[..] else {
            return Err(PtxError::new(line, "an odd number of parts"));
        };
        Ok(Action::Alu(
            pack(bytes),
            Args {
                d,
                a,
                b,
                ..Args::default()
            },
        ))
    }

    fn unpack(
        &mut self,
        parts: &[Operand<'a>],
        source: &Operand<'a>,
        ty: Type,
        line: u32,
    ) -> Result<Action, PtxError> {
        let bits = 8 * (ty.bytes() / parts.len()) as u32;
        let a = self.source(source, ty, line)?;
        let mut actions = Vec::new();
        for (at, operand) in parts.iter().enumerate() {
            if matches!(operand, Operand::Name("_")) {
                continue;
            }
            let (d, own) = self.result(operand, line)?;
            if own.bytes() * 8 != bits as usize && own.bytes() > 4 {
                return Err(PtxError::new(
                    line,
                    format!("a part of {bits} bits does not fit a {own:?}"),
                ));
            }
            let b = self.constant(u64::from(u32::MAX >> (32 - bits.min(32))), false);
            actions.push(Action::Alu(
                unpack(wide(ty)),
                Args {
                    d,
                    a,
                    b,
                    c: 0,
                    flags: at as u32 * bits,
                },
            ));
        }
        let last = actions.pop().unwrap_or(Action::Nothing);
        // A result must not overwrite the source before the last part is taken: widths differ, so it cannot.
        for action in actions {
            self.emit(action, self.guard, line);
        }
        Ok(last)
    }

    /// `cvta.SPACE` and `cvta.to.SPACE`.
    fn window(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let to = opcode.take("to");
        let space = opcode
            .pick(Space::named)
            .ok_or_else(|| opcode.unknown("its space is missing"))?;
        let place = match space {
            Space::Global | Space::Const => Place::Device,
            Space::Shared => Place::Shared,
            Space::Local => Place::Local,
            Space::Param => Place::Param,
        };
        let ty = opcode.ty()?;
        if !wide(ty) {
            return Err(opcode.unknown("32-bit addresses"));
        }
        let a = self.source(&operands[1], ty, opcode.line)?;
        let d = self.destination(&operands[0], ty, opcode.line)?;
        let base = window(place);
        let b = self.constant(if to { base.wrapping_neg() } else { base }, true);
        Ok(Action::Alu(
            lanes!(u64: |a: u64, b: u64| a.wrapping_add(b)),
            Args {
                d,
                a,
                b,
                ..Args::default()
            },
        ))
    }

    fn is_in_space(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let space = opcode
            .pick(Space::named)
            .ok_or_else(|| opcode.unknown("its space is missing"))?;
        let wanted = match space {
            Space::Shared => Place::Shared,
            Space::Local => Place::Local,
            Space::Param => Place::Param,
            Space::Global | Space::Const => Place::Device,
        };
        let a = self.source(&operands[1], Type::U64, opcode.line)?;
        let d = self.predicate(&operands[0], opcode.line)?;
        let run = alu!(|r, x, mask| {
            let a = u64::load(r, x.a);
            let inside = (0..LANES).fold(0, |m, i| {
                m | u32::from(resolve(a[i]).0 as u32 == x.flags) << i
            });
            let target = &mut r.predicates[x.d as usize];
            *target = *target & !mask | inside & mask;
        });
        Ok(Action::Alu(
            run,
            Args {
                d,
                a,
                flags: wanted as u32,
                ..Args::default()
            },
        ))
    }

    /// Predicates: `mov`, `and`, `or`, `xor`, `not`.
    pub fn logic(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        const NOT_A: u32 = 1;
        const NOT_B: u32 = 2;
        let line = opcode.line;
        let mut args = Args::default();
        let run: Alu = match (opcode.base, operands) {
            ("mov", [_, Operand::Literal(crate::ptx::Literal::Integer(value))]) => {
                args.flags = (*value != 0).into();
                args.d = self.predicate(&operands[0], line)?;
                let run = alu!(|r, x, mask| {
                    let p = &mut r.predicates[x.d as usize];
                    *p = if x.flags != 0 { *p | mask } else { *p & !mask };
                });
                return Ok(Action::Alu(run, args));
            }
            ("and", [_, _, _]) => alu!(|r, x, mask| combine(r, x, mask, |a, b| a & b)),
            ("or", [_, _, _]) => alu!(|r, x, mask| combine(r, x, mask, |a, b| a | b)),
            ("xor", [_, _, _]) => alu!(|r, x, mask| combine(r, x, mask, |a, b| a ^ b)),
            ("not", [_, _]) => alu!(|r, x, mask| combine(r, x, mask, |a, _| !a)),
            ("mov", [_, _]) => alu!(|r, x, mask| combine(r, x, mask, |a, _| a)),
            _ => return Err(opcode.unknown("no such operation on predicates")),
        };
        let (a, not_a) = self.condition(&operands[1], line)?;
        let (b, not_b) = match operands.get(2) {
            Some(operand) => self.condition(operand, line)?,
            None => (a, false),
        };
        args.d = self.predicate(&operands[0], line)?;
        (args.a, args.b) = (a, b);
        args.flags = u32::from(not_a) * NOT_A + u32::from(not_b) * NOT_B;
        Ok(Action::Alu(run, args))
    }
}

fn combine(
    r: &mut crate::exec::registers::Registers,
    x: &Args,
    mask: u32,
    f: impl Fn(u32, u32) -> u32,
) {
    let read = |slot: Slot, not: u32| {
        if x.flags & not != 0 {
            !r.predicates[slot as usize]
        } else {
            r.predicates[slot as usize]
        }
    };
    let value = f(read(x.a, 1), read(x.b, 2));
    let target = &mut r.predicates[x.d as usize];
    *target = *target & !mask | value & mask;
}
