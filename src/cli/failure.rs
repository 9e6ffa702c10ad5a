//! What went wrong, and which exit code that is.

use std::fmt;

use crate::exec::ExecError;

/// The run failed.
pub const RUN: u8 = 1;
/// The command line or an input file is wrong.
pub const USAGE: u8 = 2;

#[derive(Debug)]
pub enum Failure {
    Run(anyhow::Error),
    Usage(anyhow::Error),
}

impl Failure {
    pub fn run(error: impl Into<anyhow::Error>) -> Self {
        Self::Run(error.into())
    }

    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    /// Of ranks that could not be loaded.
    pub fn load(error: ExecError) -> Self {
        match error {
            ExecError::Pin(_) => Self::usage(error),
            _ => Self::run(error),
        }
    }

    pub fn code(&self) -> u8 {
        match self {
            Self::Run(_) => RUN,
            Self::Usage(_) => USAGE,
        }
    }
}

impl fmt::Display for Failure {
    /// One line: what the error is, then what caused it where the error did not say so itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Run(error) | Self::Usage(error)) = self;
        let mut said = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !said.contains(&cause) {
                said = format!("{said}: {cause}");
            }
        }
        f.write_str(&said)
    }
}
