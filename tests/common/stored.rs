//! A stored matrix on the CPU, as packing reads it.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::ops::Range;

use candle_core::{DType, IndexOp, Result, Tensor};
use candlepower::ops::{PartScales, WeightRows};

/// With scales where it is e4m3.
#[derive(Clone)]
pub struct Stored {
    pub values: Tensor,
    pub scales: Option<PartScales>,
}

impl Stored {
    pub fn plain(values: Tensor) -> Self {
        Self {
            values,
            scales: None,
        }
    }
}

impl WeightRows for Stored {
    fn shape(&self) -> (usize, usize) {
        self.values.dims2().unwrap()
    }

    fn dtype(&self) -> DType {
        self.values.dtype()
    }

    fn read(&self, rows: Range<usize>) -> Result<Tensor> {
        self.values.i(rows)?.contiguous()
    }

    fn scales(&self) -> Result<Option<PartScales>> {
        Ok(self.scales.clone())
    }
}
