//! An opcode taken apart: what is not asked for is an error, never ignored.

use crate::exec::floats::Rounding;
use crate::ptx::{PtxError, Type};

pub struct Opcode<'a> {
    pub text: &'a str,
    pub base: &'a str,
    modifiers: Vec<&'a str>,
    pub types: Vec<Type>,
    pub line: u32,
}

impl<'a> Opcode<'a> {
    pub fn new(text: &'a str, line: u32) -> Self {
        let mut parts = text.split('.');
        let base = parts.next().unwrap_or_default();
        let mut modifiers = Vec::new();
        let mut types = Vec::new();
        for part in parts {
            match Type::named(part) {
                Some(ty) => types.push(ty),
                None => modifiers.push(part),
            }
        }
        Self {
            text,
            base,
            modifiers,
            types,
            line,
        }
    }

    /// Is this modifier there? It then counts as understood.
    pub fn take(&mut self, modifier: &str) -> bool {
        match self.modifiers.iter().position(|m| *m == modifier) {
            Some(at) => {
                self.modifiers.remove(at);
                true
            }
            None => false,
        }
    }

    /// The first modifier that `pick` knows.
    pub fn pick<T>(&mut self, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        let at = self.modifiers.iter().position(|m| pick(m).is_some())?;
        pick(self.modifiers.remove(at))
    }

    pub fn rounding(&mut self) -> Option<Rounding> {
        self.pick(|m| {
            Some(match m {
                "rn" => Rounding::Nearest,
                "rna" => Rounding::Away,
                "rz" => Rounding::Zero,
                "rm" => Rounding::Down,
                "rp" => Rounding::Up,
                _ => return None,
            })
        })
    }

    /// The only or last type.
    pub fn ty(&self) -> Result<Type, PtxError> {
        self.types
            .last()
            .copied()
            .ok_or_else(|| self.unknown("its type is missing"))
    }

    pub fn unknown(&self, why: &str) -> PtxError {
        PtxError::new(
            self.line,
            format!("`{}` is not known to the virtual GPU: {why}", self.text),
        )
    }

    pub fn finish(&self) -> Result<(), PtxError> {
        match self.modifiers.first() {
            None => Ok(()),
            Some(m) => Err(self.unknown(&format!("modifier .{m}"))),
        }
    }
}
