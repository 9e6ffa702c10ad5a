//! A build without MPI: it is never one process of several.

use anyhow::anyhow;

use super::common::CommonArgs;
use super::failure::Failure;
use super::launch::Launched;
use super::loading::{Loaded, Loading};
use super::model_files::ModelFiles;

/// Cargo features that a result names.
pub const FEATURES: &[&str] = &[];

pub enum Job {}

impl Job {
    pub fn join(launched: Launched, _args: &CommonArgs) -> Result<Self, Failure> {
        Err(Failure::Usage(anyhow!(
            "{} processes were started, and this build of candlepower has no MPI; build it with --features mpi, or start one process with --tp {} for ranks as threads",
            launched.size,
            launched.size
        )))
    }

    pub fn rank(&self) -> usize {
        match *self {}
    }

    pub fn ranks_here(&self) -> Vec<usize> {
        match *self {}
    }

    pub fn lead(&self, _: &CommonArgs, _: &ModelFiles, _: Loading) -> Result<Loaded, Failure> {
        match *self {}
    }

    pub fn serve(&self, _: &CommonArgs) {
        match *self {}
    }

    pub fn leave(&self) {
        match *self {}
    }

    pub fn abort(&self, _code: u8) -> ! {
        match *self {}
    }
}
