//! `ld`, `st`, `atom`, `red`.

use super::operands::wide;
use super::{Lowering, Opcode};
use crate::exec::access::{Element, Transfer};
use crate::exec::atomic::{Atomic, Operation};
use crate::exec::kernel::Action;
use crate::exec::order::Order;
use crate::ptx::{Operand, PtxError, Space, Type};

/// Hints to caches.
fn known(modifier: &str) -> bool {
    let hints = ["ca", "cg", "cs", "lu", "cv", "wb", "wt"];
    hints.contains(&modifier)
        || modifier.starts_with("L1::")
        || modifier.starts_with("L2::")
        || modifier == "L1"
        || modifier == "L2"
}

fn take_hints(opcode: &mut Opcode) {
    while opcode.pick(|m| known(m).then_some(())).is_some() {}
}

/// Takes the words of order, over what holds without them.
pub fn order(opcode: &mut Opcode, mut order: Order) -> Order {
    while let Some(more) = opcode.pick(|m| {
        let mut more = order;
        more.take(m).then_some(more)
    }) {
        order = more;
    }
    order
}

impl<'a> Lowering<'a> {
    pub fn memory(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        take_hints(opcode);
        if !matches!(opcode.base, "ld" | "ldu" | "st") {
            while opcode.pick(|m| Space::named(m).map(|_| ())).is_some() {}
            return Ok(Action::Nothing); // advice to caches
        }
        let order = order(opcode, Order::default());
        let constant = opcode.take("nc");
        let space = opcode.pick(Space::named);
        let count = match (opcode.take("v2"), opcode.take("v4"), opcode.take("v8")) {
            (true, _, _) => 2,
            (_, true, _) => 4,
            (_, _, true) => 8,
            _ => 1,
        };
        let ty = opcode.ty()?;
        if ty == Type::B128 {
            return Err(opcode.unknown("values of 128 bits"));
        }
        Self::count(opcode, operands, 2)?;
        let store = opcode.base == "st";
        let (at, values) = if store {
            (&operands[0], &operands[1])
        } else {
            (&operands[1], &operands[0])
        };
        let values = Self::elements(values);
        if values.len() != count {
            return Err(opcode.unknown(&format!(
                "{} registers where {count} are expected",
                values.len()
            )));
        }
        let mut elements = Vec::new();
        for value in values {
            let (slot, own) = if store {
                self.loose_source(value, ty, line)?
            } else {
                self.result(value, line)?
            };
            let sink = matches!(value, Operand::Name("_"));
            if own.bytes() < ty.bytes() && !sink {
                return Err(opcode.unknown(&format!("a register of type {own:?}")));
            }
            elements.push(Element {
                slot,
                wide: own.bytes() == 8,
            });
        }
        let address = self.address(at, space, line)?;
        let transfer = Transfer {
            address,
            bytes: ty.bytes() as u64,
            signed: ty.signed(),
            elements,
            order,
            constant,
        };
        Ok(if store {
            Action::Store(Box::new(transfer))
        } else {
            Action::Load(Box::new(transfer))
        })
    }

    pub fn atomic(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        take_hints(opcode);
        opcode.take("noftz");
        let order = order(opcode, Order::ATOMIC);
        let space = opcode.pick(Space::named);
        let operation = opcode.pick(Operation::named);
        let operation = operation.ok_or_else(|| opcode.unknown("its operation is missing"))?;
        let ty = opcode.ty()?;
        let arithmetic = matches!(
            operation,
            Operation::Min | Operation::Max | Operation::Increment | Operation::Decrement
        );
        if ty.bytes() < 2
            || ty == Type::B128
            || arithmetic && (ty.float() || matches!(ty, Type::F16x2 | Type::Bf16x2))
        {
            return Err(opcode.unknown("no such atomic operation"));
        }
        let (result, rest) = match (opcode.base, operands) {
            ("atom", [d, rest @ ..]) => {
                let slot = self.destination(d, ty, line)?;
                (Some((slot, wide(ty))), rest)
            }
            (_, rest) => (None, rest),
        };
        let wanted = if operation == Operation::CompareAndSwap {
            3
        } else {
            2
        };
        Self::count(opcode, rest, wanted)?;
        let b = self.source(&rest[1], ty, line)?;
        let c = if wanted == 3 {
            self.source(&rest[2], ty, line)?
        } else {
            b
        };
        let address = self.address(&rest[0], space, line)?;
        Ok(Action::Atomic(Box::new(Atomic {
            address,
            operation,
            ty,
            b,
            c,
            result,
            order,
        })))
    }
}
