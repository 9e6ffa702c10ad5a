//! Instructions that compute lane by lane: which function does it, and with what operands.

use super::{Lowering, Opcode, bits, float, half, integer};
use crate::exec::kernel::Action;
use crate::exec::lanes::{Alu, Args};
use crate::ptx::{Operand, PtxError, Type};

/// A computation with the types of its operands.
pub struct Form {
    pub run: Alu,
    pub result: Type,
    pub sources: Vec<Type>,
    pub flags: u32,
}

impl Form {
    pub fn new(run: Alu, result: Type, sources: &[Type]) -> Self {
        Self {
            run,
            result,
            sources: sources.to_vec(),
            flags: 0,
        }
    }

    pub fn flagged(run: Alu, result: Type, sources: &[Type], flags: u32) -> Self {
        Self {
            run,
            result,
            sources: sources.to_vec(),
            flags,
        }
    }
}

impl<'a> Lowering<'a> {
    pub fn arithmetic(
        &mut self,
        opcode: &mut Opcode,
        operands: &[Operand<'a>],
    ) -> Result<Action, PtxError> {
        let ty = opcode.ty()?;
        if ty == Type::Pred {
            return self.logic(opcode, operands);
        }
        // An immediate last operand chooses the function.
        if let ("lop3", [inputs @ .., table]) = (opcode.base, operands) {
            let Operand::Literal(crate::ptx::Literal::Integer(table)) = table else {
                return Err(opcode.unknown("its table is not a number"));
            };
            let form = bits::table(*table as u32);
            return self.formed(opcode, inputs, form);
        }
        if opcode.base == "bfi" {
            return self.insert(opcode, operands, ty);
        }
        let form = match integer::form(opcode, ty)? {
            Some(form) => Some(form),
            None => match float::form(opcode, ty)? {
                Some(form) => Some(form),
                None => half::form(opcode, ty)?,
            },
        };
        let form = form.ok_or_else(|| opcode.unknown("no such operation for this type"))?;
        self.formed(opcode, operands, form)
    }

    /// `bfi` has a source more than others.
    fn insert(
        &mut self,
        opcode: &Opcode,
        operands: &[Operand<'a>],
        ty: Type,
    ) -> Result<Action, PtxError> {
        Self::count(opcode, operands, 5)?;
        let line = opcode.line;
        let a = self.source(&operands[1], ty, line)?;
        let b = self.source(&operands[2], ty, line)?;
        let c = self.source(&operands[3], Type::U32, line)?;
        let flags = self.source(&operands[4], Type::U32, line)?;
        let d = self.destination(&operands[0], ty, line)?;
        Ok(Action::Alu(
            bits::insert(ty.bytes() == 8),
            Args { d, a, b, c, flags },
        ))
    }

    pub fn formed(
        &mut self,
        opcode: &Opcode,
        operands: &[Operand<'a>],
        form: Form,
    ) -> Result<Action, PtxError> {
        Self::count(opcode, operands, form.sources.len() + 1)?;
        let mut args = Args {
            flags: form.flags,
            ..Args::default()
        };
        let mut sources = [0; 3];
        for (at, ty) in form.sources.iter().enumerate() {
            sources[at] = self.source(&operands[at + 1], *ty, opcode.line)?;
        }
        [args.a, args.b, args.c] = sources;
        args.d = self.destination(&operands[0], form.result, opcode.line)?;
        Ok(Action::Alu(form.run, args))
    }
}
