//! What stops a kernel, with the place where it happened.

use std::fmt;

use crate::memory::{Fault, FaultKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    IllegalAddress,
    Misaligned,
    Assert,
    Trap,
    /// Threads wait for each other for ever, or a race, or misuse of a warp's instruction.
    Misuse,
    Timeout,
    Unsupported,
}

#[derive(Clone, Debug)]
pub struct KernelFault {
    pub cause: Cause,
    pub message: String,
    pub kernel: String,
    pub line: u32,
    pub block: [u32; 3],
    pub thread: Option<[u32; 3]>,
}

impl fmt::Display for KernelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.block;
        write!(
            f,
            "kernel {}, PTX line {}, block ({x},{y},{z})",
            self.kernel, self.line
        )?;
        if let Some([x, y, z]) = self.thread {
            write!(f, ", thread ({x},{y},{z})")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A fault before its place is known: in a lane, or in a whole warp.
#[derive(Debug)]
pub struct Broken {
    pub cause: Cause,
    pub message: String,
    pub lane: Option<usize>,
}

impl Broken {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self {
            cause,
            message: message.into(),
            lane: None,
        }
    }

    pub fn at(cause: Cause, lane: usize, message: impl Into<String>) -> Self {
        Self {
            cause,
            message: message.into(),
            lane: Some(lane),
        }
    }

    pub fn memory(lane: usize, fault: &Fault) -> Self {
        let cause = match fault.kind {
            FaultKind::Misaligned => Cause::Misaligned,
            FaultKind::Early => Cause::Misuse,
            _ => Cause::IllegalAddress,
        };
        Self::at(cause, lane, fault.to_string())
    }
}
