//! Activations rounded to e4m3, a scale for each row and block of columns.

use candle_core::{DType, Result, Tensor};

use super::{Input, Weights};
use crate::ops::cuda::modules::{Arg, Grid};
use crate::ops::cuda::{Cuda, lock, suffix, tensor};

/// Rows once rounded, as many as ever were.
#[derive(Debug, Default)]
pub struct Space {
    values: Option<Tensor>,
    scales: Option<Tensor>,
}

/// Warps of a block, each of which rounds one block of columns.
const WARPS: usize = 8;

impl Input {
    /// These rows as `weights` with rounded activations take them: at most `rows`, and of those the first `count`
    /// (u32 on the GPU) where it is given. They hold until the next call.
    pub fn quantized(
        self,
        cuda: &Cuda,
        weights: &Weights,
        rows: usize,
        count: Option<Arg>,
    ) -> Result<Self> {
        let Some(blocks) = weights.blocks else {
            return Ok(self);
        };
        let mut space = lock(&cuda.quantized);
        let space = &mut *space;
        let values = tensor::room(
            &cuda.gpu,
            &mut space.values,
            rows * weights.k,
            DType::F8E4M3,
        )?;
        let scales = tensor::room(
            &cuda.gpu,
            &mut space.scales,
            rows * blocks.count,
            DType::F32,
        )?;
        let grid = Grid {
            blocks: (rows as u32, blocks.count.div_ceil(WARPS) as u32, 1),
            threads: 32 * WARPS as u32,
            shared: 0,
        };
        cuda.launch(
            "quantize",
            &format!("quantize_{}", suffix(self.dtype)?),
            grid,
            &[
                Arg::At(self.at),
                count.unwrap_or(Arg::At(0)),
                Arg::At(values),
                Arg::At(scales),
                Arg::U32(weights.k as u32),
                Arg::U32(blocks.count as u32),
                Arg::U32(blocks.width as u32),
                Arg::U32(blocks.column_offset as u32),
            ],
        )?;
        Ok(Self {
            at: values,
            dtype: DType::F8E4M3,
            scales,
        })
    }
}
