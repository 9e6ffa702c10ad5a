//! A rank's step, so that its failure never leaves the other ranks waiting.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::ExecError;
use crate::ops::cpu::rendezvous::Rendezvous;

/// Runs `step`; when it fails or panics, the rank's peers are told before anyone else.
pub fn guarded<R>(
    rank: usize,
    rendezvous: &Rendezvous,
    step: impl FnOnce() -> Result<R, ExecError>,
) -> Result<R, ExecError> {
    let outcome = caught(rank, step);
    if let Err(error) = &outcome {
        rendezvous.stop(rank, &error.to_string());
    }
    outcome
}

/// Runs `step`; a panic is an error as any other.
pub fn caught<R>(rank: usize, step: impl FnOnce() -> Result<R, ExecError>) -> Result<R, ExecError> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
        Err(ExecError::Panic {
            rank,
            message: message(panic.as_ref()).to_owned(),
        })
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}
