//! Operands to register slots; constants and special values get registers of their own.

use super::scope::Name;
use super::{Lowering, Opcode};
use crate::exec::access::Address;
use crate::exec::kernel::Special;
use crate::exec::registers::{LANES, Slot};
use crate::exec::windows::Place;
use crate::ptx::{Literal, Operand, PtxError, Space, Type};

const AXES: [&str; 3] = ["x", "y", "z"];

fn special(name: &str) -> Option<Special> {
    if let Some((stem, axis)) = name.strip_prefix('%')?.split_once('.') {
        let axis = AXES.iter().position(|a| *a == axis)?;
        return Some(match stem {
            "tid" => Special::Thread(axis),
            "ntid" => Special::Threads(axis),
            "ctaid" => Special::Block(axis),
            "nctaid" => Special::Blocks(axis),
            _ => return None,
        });
    }
    Some(match name {
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%nwarpid" => Special::Warps,
        "%lanemask_eq" => Special::LanesEqual,
        "%lanemask_lt" => Special::LanesBelow,
        "%lanemask_le" => Special::LanesUpTo,
        "%lanemask_gt" => Special::LanesAbove,
        "%lanemask_ge" => Special::LanesFrom,
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" => Special::TotalShared,
        "%smid" => Special::Multiprocessor,
        "%nsmid" => Special::Multiprocessors,
        "%gridid" => Special::Grid,
        _ => return None,
    })
}

/// Does a value of this type take two rows?
pub fn wide(ty: Type) -> bool {
    ty.bytes() == 8
}

/// The bits of a literal as a value of this type.
pub fn literal_bits(literal: Literal, ty: Type) -> u64 {
    let bits = match (literal, ty) {
        (Literal::Integer(n), _) => n,
        (Literal::Single(bits), Type::F64) => f64::from(f32::from_bits(bits)).to_bits(),
        (Literal::Single(bits), _) => bits.into(),
        (Literal::Double(bits), Type::F32) => (f64::from_bits(bits) as f32).to_bits().into(),
        (Literal::Double(bits), _) => bits,
    };
    match ty.bytes() {
        1 => bits & u64::from(u8::MAX),
        2 => bits & u64::from(u16::MAX),
        4 => bits & u64::from(u32::MAX),
        _ => bits,
    }
}

impl<'a> Lowering<'a> {
    pub fn find(&mut self, name: &'a str) -> Option<Name> {
        for scope in self.scopes.iter().rev() {
            if let Some(found) = scope.find(name) {
                return Some(found);
            }
            if scope.function {
                break;
            }
        }
        if let Some(at) = self.addresses.get(name) {
            return Some(Name::Device(*at));
        }
        if let Some(at) = self.shared.get(name) {
            return Some(Name::Shared(*at));
        }
        let module = self.module;
        let variable = module
            .variables
            .iter()
            .find(|v| v.name == name && v.space == Space::Shared)?;
        if variable.outside && variable.bytes == 0 {
            self.shared_align = self.shared_align.max(variable.align);
            return Some(Name::DynamicShared);
        }
        let at = self.place_shared(variable.bytes, variable.align);
        self.shared.insert(name, at);
        Some(Name::Shared(at))
    }

    pub fn constant(&mut self, bits: u64, wide: bool) -> Slot {
        if let Some(slot) = self.constant_slots.get(&(wide, bits)) {
            return *slot;
        }
        let slot = self.row(if wide { 2 } else { 1 });
        self.constants.push((slot, wide, bits));
        self.constant_slots.insert((wide, bits), slot);
        slot
    }

    fn dynamic_shared(&mut self, offset: i64, wide: bool) -> Slot {
        let slot = self.row(if wide { 2 } else { 1 });
        self.dynamic.push((self.constants.len(), offset as u64));
        self.constants.push((slot, wide, 0));
        slot
    }

    fn special(&mut self, special: Special) -> Slot {
        if let Some(slot) = self.specials.get(&special) {
            return *slot;
        }
        let slot = self.row(1);
        self.specials.insert(special, slot);
        slot
    }

    /// The register that holds a source of this type.
    pub fn source(&mut self, operand: &Operand<'a>, ty: Type, line: u32) -> Result<Slot, PtxError> {
        match operand {
            Operand::Literal(literal) => Ok(self.constant(literal_bits(*literal, ty), wide(ty))),
            Operand::Name("WARP_SZ") => Ok(self.constant(LANES as u64, wide(ty))),
            Operand::Name(name) => {
                if let Some(special) = special(name) {
                    return Ok(self.special(special));
                }
                self.value(name, 0, ty, line)
            }
            Operand::Offset(name, offset) => self.value(name, *offset, ty, line),
            other => Err(PtxError::new(
                line,
                format!("{other:?} is not a source that this instruction takes"),
            )),
        }
    }

    fn value(&mut self, name: &'a str, offset: i64, ty: Type, line: u32) -> Result<Slot, PtxError> {
        let wide = wide(ty);
        match self.find(name) {
            Some(Name::Register(slot, own)) if offset == 0 => {
                if (own.bytes() > 4) != wide {
                    return Err(PtxError::new(
                        line,
                        format!("`{name}` is a {own:?}, a value like {ty:?} is wanted"),
                    ));
                }
                Ok(slot)
            }
            Some(Name::Shared(at) | Name::Local(at) | Name::Param(at) | Name::Device(at)) => {
                Ok(self.constant(at.wrapping_add_signed(offset), wide))
            }
            Some(Name::DynamicShared) => Ok(self.dynamic_shared(offset, wide)),
            _ => Err(PtxError::new(
                line,
                format!("`{name}` is not known as a value"),
            )),
        }
    }

    /// A source with the type of its own register, or that asked for where it has none.
    pub fn loose_source(
        &mut self,
        operand: &Operand<'a>,
        ty: Type,
        line: u32,
    ) -> Result<(Slot, Type), PtxError> {
        if let Operand::Name(name) = operand
            && let Some(Name::Register(slot, own)) = self.find(name)
        {
            return Ok((slot, own));
        }
        Ok((self.source(operand, ty, line)?, ty))
    }

    /// A result's register and its own type; `_` gets one that nobody reads.
    pub fn result(&mut self, operand: &Operand<'a>, line: u32) -> Result<(Slot, Type), PtxError> {
        match operand {
            Operand::Name("_") => Ok((self.row(2), Type::B64)),
            Operand::Name(name) => match self.find(name) {
                Some(Name::Register(slot, ty)) => Ok((slot, ty)),
                _ => Err(PtxError::new(line, format!("`{name}` is not a register"))),
            },
            other => Err(PtxError::new(
                line,
                format!("{other:?} cannot take a result"),
            )),
        }
    }

    /// A result's register, which must be as wide as the type.
    pub fn destination(
        &mut self,
        operand: &Operand<'a>,
        ty: Type,
        line: u32,
    ) -> Result<Slot, PtxError> {
        let (slot, own) = self.result(operand, line)?;
        let sink = matches!(operand, Operand::Name("_"));
        if !sink && (own.bytes() > 4) != wide(ty) {
            return Err(PtxError::new(
                line,
                format!("a result of type {ty:?} does not fit a register of type {own:?}"),
            ));
        }
        Ok(slot)
    }

    pub fn predicate(&mut self, operand: &Operand<'a>, line: u32) -> Result<Slot, PtxError> {
        match operand {
            Operand::Name("_") => {
                self.predicates += 1;
                Ok(self.predicates - 1)
            }
            Operand::Name(name) => match self.find(name) {
                Some(Name::Predicate(slot)) => Ok(slot),
                _ => Err(PtxError::new(line, format!("`{name}` is not a predicate"))),
            },
            other => Err(PtxError::new(line, format!("{other:?} is not a predicate"))),
        }
    }

    /// A predicate that may be negated.
    pub fn condition(
        &mut self,
        operand: &Operand<'a>,
        line: u32,
    ) -> Result<(Slot, bool), PtxError> {
        match operand {
            Operand::Not(name) => Ok((self.predicate(&Operand::Name(name), line)?, true)),
            other => Ok((self.predicate(other, line)?, false)),
        }
    }

    /// Where `[...]` points. A parameter of a function that was called lies in local memory.
    pub fn address(
        &mut self,
        operand: &Operand<'a>,
        space: Option<Space>,
        line: u32,
    ) -> Result<Address, PtxError> {
        let Operand::Address(base, offset) = operand else {
            return Err(PtxError::new(
                line,
                format!("{operand:?} is not an address"),
            ));
        };
        let mut place = match space {
            None => Place::Generic,
            Some(Space::Global | Space::Const) => Place::Device,
            Some(Space::Shared) => Place::Shared,
            Some(Space::Local) => Place::Local,
            Some(Space::Param) => Place::Param,
        };
        let Some(name) = base else {
            return Ok(Address {
                place,
                base: None,
                offset: *offset,
            });
        };
        let (base, offset) = match self.find(name) {
            Some(Name::Register(slot, ty)) => (Some((slot, wide(ty))), *offset),
            Some(Name::DynamicShared) => (Some((self.dynamic_shared(0, true), true)), *offset),
            Some(Name::Local(at)) => {
                if place == Place::Param {
                    place = Place::Local;
                }
                (None, offset.wrapping_add_unsigned(at))
            }
            Some(Name::Shared(at) | Name::Param(at) | Name::Device(at)) => {
                (None, offset.wrapping_add_unsigned(at))
            }
            _ => {
                return Err(PtxError::new(
                    line,
                    format!("`{name}` is not known as an address"),
                ));
            }
        };
        Ok(Address {
            place,
            base,
            offset,
        })
    }

    /// The elements of `{a, b}`, or the operand itself.
    pub fn elements<'o>(operand: &'o Operand<'a>) -> &'o [Operand<'a>] {
        match operand {
            Operand::Vector(inner) => inner,
            other => std::slice::from_ref(other),
        }
    }

    pub fn count(opcode: &Opcode, operands: &[Operand<'a>], wanted: usize) -> Result<(), PtxError> {
        if operands.len() == wanted {
            return Ok(());
        }
        Err(opcode.unknown(&format!(
            "{} operands where {wanted} are expected",
            operands.len()
        )))
    }
}
