//! Names of a function's body: registers, variables and labels, by block.

use std::collections::HashMap;

use crate::exec::registers::Slot;
use crate::ptx::Type;

#[derive(Clone, Copy, Debug)]
pub enum Name {
    Register(Slot, Type),
    Predicate(Slot),
    Shared(u64),
    /// Shared memory whose size comes with the launch: it begins after all else.
    DynamicShared,
    Local(u64),
    Param(u64),
    /// A variable in device memory.
    Device(u64),
}

#[derive(Default)]
pub struct Scope<'a> {
    pub names: HashMap<String, Name>,
    /// `%r<5>`: prefix, type, first slot, count.
    pub ranges: Vec<(&'a str, Type, Slot, u32)>,
    pub labels: HashMap<&'a str, usize>,
    /// Branches (by index) to labels not yet seen.
    pub open: Vec<(usize, &'a str, u32)>,
    /// A function begins here: outer names are not seen.
    pub function: bool,
}

/// Rows that a register of this type takes.
pub fn rows(ty: Type) -> u32 {
    if ty.bytes() > 4 { 2 } else { 1 }
}

impl<'a> Scope<'a> {
    pub fn range(&mut self, prefix: &'a str, ty: Type, first: Slot, count: u32) {
        self.ranges.push((prefix, ty, first, count));
    }

    pub fn find(&self, name: &str) -> Option<Name> {
        if let Some(found) = self.names.get(name) {
            return Some(*found);
        }
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number: u32 = name[stem.len()..].parse().ok()?;
        let (_, ty, first, _) = self
            .ranges
            .iter()
            .find(|(prefix, _, _, count)| *prefix == stem && number < *count)?;
        Some(if *ty == Type::Pred {
            Name::Predicate(first + number)
        } else {
            Name::Register(first + number * rows(*ty), *ty)
        })
    }
}
