//! A build without NCCL.

use candle_core::{Result, bail};

use super::{Collective, Failed};
use crate::ops::Buffer;
use crate::ops::cuda::Gpu;

/// Whether this build has it.
pub const IS_BUILT: bool = false;

/// Of the library.
pub fn version() -> Option<String> {
    None
}

/// Where ranks meet: nowhere.
pub struct Meeting;

impl Meeting {
    /// # Errors
    /// Always.
    pub fn new() -> Result<Self> {
        bail!("sums by NCCL need a build with --features nccl")
    }

    /// As nowhere as any.
    pub fn elsewhere() -> Self {
        Self
    }

    /// # Errors
    /// Always.
    pub fn of_first(&self, _host: &dyn Collective) -> Result<Self> {
        bail!("sums by NCCL need a build with --features nccl")
    }

    /// # Errors
    /// Always.
    pub fn join(&self, _gpu: &Gpu, _rank: usize, _size: usize, _failed: Failed) -> Result<Nccl> {
        bail!("sums by NCCL need a build with --features nccl")
    }
}

/// One rank's communicator: there is none.
pub enum Nccl {}

impl Nccl {
    /// # Errors
    /// Never.
    pub fn all_reduce(&self, _x: &Buffer, _rows: usize) -> Result<()> {
        match *self {}
    }

    /// What NCCL says against its peers.
    pub fn failure(&self) -> Option<String> {
        match *self {}
    }

    /// Lets the GPU leave what it waits for others in.
    pub fn give_up(&self) {
        match *self {}
    }
}
