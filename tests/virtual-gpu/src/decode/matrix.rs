//! `ldmatrix`, `mma.sync` and `cp.async`.

use super::{Lowering, Opcode};
use crate::exec::copy_async::CopyAsync;
use crate::exec::kernel::Action;
use crate::exec::matrix::{LoadMatrix, Product, elements};
use crate::exec::registers::Slot;
use crate::ptx::{Literal, Operand, PtxError, Space, Type};

/// Shapes by the registers that A has, for the size of its elements.
fn registers_of_a(shape: &str, ty: Type) -> Option<usize> {
    let k: usize = shape.strip_prefix("m16n8k")?.parse().ok()?;
    let per = elements(ty);
    // Two rows of registers for each 4 * per columns.
    let registers = 2 * k / (4 * per);
    (k.is_multiple_of(4 * per) && matches!(registers, 2 | 4)).then_some(registers)
}

impl<'a> Lowering<'a> {
    pub fn matrix(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        match opcode.base {
            "ldmatrix" => self.load_matrix(opcode, operands),
            "mma" => self.product(opcode, operands),
            "cp" => self.copy_async(opcode, operands),
            _ => Err(opcode.unknown("not built")),
        }
    }

    fn slots(
        &mut self,
        operand: &Operand<'a>,
        line: u32,
        result: bool,
    ) -> Result<Vec<Slot>, PtxError> {
        let mut found = Vec::new();
        for element in Self::elements(operand) {
            found.push(if result {
                self.destination(element, Type::B32, line)?
            } else {
                self.source(element, Type::B32, line)?
            });
        }
        Ok(found)
    }

    fn load_matrix(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        let sound = opcode.take("sync") && opcode.take("aligned") && opcode.take("m8n8");
        if !sound || opcode.ty()? != Type::B16 {
            return Err(opcode.unknown("only .sync.aligned.m8n8 of .b16 is"));
        }
        let count = match (opcode.take("x1"), opcode.take("x2"), opcode.take("x4")) {
            (true, _, _) => 1,
            (_, true, _) => 2,
            (_, _, true) => 4,
            _ => return Err(opcode.unknown("its count is missing")),
        };
        let transposed = opcode.take("trans");
        let space = opcode.pick(Space::named);
        Self::count(opcode, operands, 2)?;
        let results = self.slots(&operands[0], line, true)?;
        if results.len() != count {
            return Err(opcode.unknown(&format!(
                "{} registers where {count} are expected",
                results.len()
            )));
        }
        let address = self.address(&operands[1], space, line)?;
        Ok(Action::LoadMatrix(Box::new(LoadMatrix {
            results,
            address,
            transposed,
        })))
    }

    fn product(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        let sound = opcode.take("sync")
            && opcode.take("aligned")
            && opcode.take("row")
            && opcode.take("col");
        let [d_type, a_type, b_type, c_type] = opcode.types[..] else {
            return Err(opcode.unknown("it needs four types"));
        };
        let shape = opcode.pick(|m| registers_of_a(m, a_type));
        let (Some(registers), true) = (shape, sound) else {
            return Err(opcode.unknown("its shape for these types"));
        };
        let whole = |ty| matches!(ty, Type::S8 | Type::U8);
        let byte = |ty| matches!(ty, Type::E4m3 | Type::E5m2);
        let kinds = match (a_type, b_type) {
            (Type::F16, Type::F16) => matches!(d_type, Type::F16 | Type::F32),
            (Type::Bf16, Type::Bf16) | (Type::Tf32, Type::Tf32) => d_type == Type::F32,
            (a, b) if byte(a) && byte(b) => d_type == Type::F32,
            (a, b) if whole(a) && whole(b) => d_type == Type::S32,
            _ => false,
        };
        if !kinds || c_type != d_type {
            return Err(opcode.unknown("these types together"));
        }
        Self::count(opcode, operands, 4)?;
        let d = self.slots(&operands[0], line, true)?;
        let a = self.slots(&operands[1], line, false)?;
        let b = self.slots(&operands[2], line, false)?;
        let c = self.slots(&operands[3], line, false)?;
        let sums = if d_type == Type::F16 { 2 } else { 4 };
        if a.len() != registers || b.len() * 2 != registers || c.len() != sums || d.len() != sums {
            return Err(opcode.unknown("the number of its registers"));
        }
        Ok(Action::Product(Box::new(Product {
            a,
            b,
            c,
            d,
            a_type,
            b_type,
            sum: d_type,
        })))
    }

    fn copy_async(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let line = opcode.line;
        if !opcode.take("async") {
            return Err(opcode.unknown("only cp.async is"));
        }
        if opcode.take("commit_group") {
            return Ok(Action::CopyCommit);
        }
        if opcode.take("wait_all") {
            return Ok(Action::CopyWait(usize::MAX));
        }
        if opcode.take("wait_group") {
            return match operands {
                [Operand::Literal(Literal::Integer(n))] => Ok(Action::CopyWait(*n as usize)),
                _ => Err(opcode.unknown("its operand is no number")),
            };
        }
        let all = opcode.take("ca");
        let cached = opcode.take("cg");
        opcode.pick(|m| m.starts_with("L2::").then_some(()));
        opcode.take("shared");
        opcode.take("shared::cta");
        opcode.take("global");
        let [
            to,
            from,
            Operand::Literal(Literal::Integer(bytes)),
            rest @ ..,
        ] = operands
        else {
            return Err(opcode.unknown("its operands"));
        };
        // .cg bypasses L1 and takes 16 bytes only.
        let sizes: &[u64] = if cached && !all { &[16] } else { &[4, 8, 16] };
        if !sizes.contains(bytes) {
            return Err(opcode.unknown(&format!("{bytes} bytes")));
        }
        let (mut source_bytes, mut ignore) = (None, None);
        if let Some(operand) = rest.first() {
            let predicate = match operand {
                Operand::Name(name) => {
                    matches!(self.find(name), Some(super::scope::Name::Predicate(_)))
                }
                _ => false,
            };
            if predicate {
                ignore = Some(self.predicate(operand, line)?);
            } else {
                source_bytes = Some(self.source(operand, Type::U32, line)?);
            }
        }
        let to = self.address(to, Some(Space::Shared), line)?;
        let from = self.address(from, Some(Space::Global), line)?;
        Ok(Action::CopyAsync(Box::new(CopyAsync {
            to,
            from,
            bytes: *bytes,
            source_bytes,
            ignore,
        })))
    }
}
