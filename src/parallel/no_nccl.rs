//! A build without NCCL: one GPU, and nobody to reach.

use candle_core::{Result, bail};

use super::Collective;
use crate::ops::cuda::Gpu;

/// Of the library.
pub fn version() -> Option<String> {
    None
}

/// How ranks on GPUs find each other.
pub struct Link;

impl Link {
    /// # Errors
    /// There are several.
    pub fn new(ranks: usize) -> Result<Self> {
        match ranks {
            1 => Ok(Self),
            _ => bail!("{ranks} ranks on GPUs need a build with --features nccl"),
        }
    }

    /// The rank's GPU, and its view of its peers: none.
    pub fn join(
        &self,
        host: Box<dyn Collective>,
        gpu: Result<Gpu>,
    ) -> Result<(Gpu, Box<dyn Collective>)> {
        Ok((gpu?, host))
    }
}
