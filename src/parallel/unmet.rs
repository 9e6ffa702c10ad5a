//! Peers that are not met: a pass with them counts what a real one exchanges, and waits for nobody.

use std::cell::Cell;
use std::time::Duration;

use candle_core::{Result, bail};

use super::Collective;
use crate::ground::recorder::Traffic;
use crate::ops::Buffer;

/// Stands for one rank's view of its peers.
pub struct Unmet {
    rank: usize,
    size: usize,
    bytes: Cell<u64>,
}

impl Unmet {
    pub fn instead_of(collective: &dyn Collective) -> Self {
        Self {
            rank: collective.rank(),
            size: collective.size(),
            bytes: Cell::default(),
        }
    }
}

impl Collective for Unmet {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    /// Leaves this rank's part.
    fn all_reduce(&self, x: &Buffer, rows: usize) -> Result<()> {
        let bytes = rows * x.dim(1)? * x.dtype().size_in_bytes();
        self.bytes.update(|before| before + bytes as u64);
        Ok(())
    }

    fn agree(&self, _keys: &Buffer, count: usize) -> Result<()> {
        let bytes = count * size_of::<u64>();
        self.bytes.update(|before| before + bytes as u64);
        Ok(())
    }

    fn all_gather(&self, _mine: &[u32], _all: &mut Vec<u32>) -> Result<()> {
        bail!("peers that are not met bring nothing")
    }

    fn take_traffic(&self) -> Traffic {
        Traffic {
            bytes: self.bytes.take(),
            time: Duration::ZERO,
            wait: None,
        }
    }
}
