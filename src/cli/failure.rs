//! What went wrong, and which exit code that is.

use std::fmt;

use crate::session::SessionError;

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

    pub fn code(&self) -> u8 {
        match self {
            Self::Run(_) => RUN,
            Self::Usage(_) => USAGE,
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error.is_usage() {
            true => Self::usage(error),
            false => Self::run(error),
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
