//! PTX text: tokens, declarations and statements. What an instruction means is decided in `decode`.

mod body;
mod lexer;
mod module;
mod reader;
mod types;

pub use body::{Instruction, Literal, Operand, Statement, parse_body};
pub use module::{Body, Function, Module, Space, Variable};
pub use types::Type;

use std::fmt;

/// What is wrong with a PTX text, and where.
#[derive(Clone, Debug)]
pub struct PtxError {
    pub line: u32,
    pub message: String,
}

impl PtxError {
    pub fn new(line: u32, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for PtxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PTX line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for PtxError {}
