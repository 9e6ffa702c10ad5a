//! A build without MPI: it is never one process of several.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::error::{SessionError, Wish};
use super::files::ModelFiles;
use super::launch::Launched;
use super::loading::{Following, Loaded, Loading};
use super::options::EngineOptions;
use crate::exec::ExecError;
use crate::ground::{GpuIdentity, Progress};
use crate::telemetry::GpuProbe;

/// Cargo features that a result names.
pub const FEATURES: &[&str] = &[];

/// Never there.
pub enum Job {}

impl Job {
    /// # Errors
    /// Always: there is no MPI.
    pub fn join(
        launched: Launched,
        _options: &EngineOptions,
        _told_to_end: Arc<AtomicBool>,
        _tell: fn(&str),
        _progress: &dyn Progress,
    ) -> Result<Self, SessionError> {
        Err(Wish::NoMpi(launched.size).into())
    }

    /// Of this process.
    pub fn rank(&self) -> usize {
        match *self {}
    }

    pub(super) fn ranks_here(&self) -> Vec<usize> {
        match *self {}
    }

    /// Of this process.
    pub fn ranks(&self) -> Range<usize> {
        match *self {}
    }

    /// Of all processes.
    ///
    /// # Errors
    /// Never.
    pub fn gpus(&self) -> Result<&[Vec<GpuIdentity>], Wish> {
        match *self {}
    }

    /// Of this process.
    ///
    /// # Errors
    /// Never.
    pub fn gpus_here(&self) -> Result<&[GpuIdentity], Wish> {
        match *self {}
    }

    pub(super) fn lead(
        &self,
        _: &ModelFiles,
        _: Loading,
        _: Option<Arc<dyn GpuProbe>>,
    ) -> Result<Loaded, ExecError> {
        match *self {}
    }

    pub(super) fn follow(&self, _: Result<Following, SessionError>) {
        match *self {}
    }

    /// Once every rank is done.
    pub fn leave(&self) {
        match *self {}
    }

    /// Ends every process of the job.
    pub fn abort(&self, _code: u8) -> ! {
        match *self {}
    }
}
