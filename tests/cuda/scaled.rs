//! Weights of e4m3 with block scales, and activations rounded as such layers may ask.

use candle_core::{DType, Device, Tensor};
use candlepower::ops::{Backend, Linear, PartScales, WeightRows};
use float8::F8E4M3;

use crate::common::random::Random;
use crate::common::stored::Stored;
use crate::support::exact;

/// The largest e4m3 number.
const MOST: f32 = 448.0;

/// How the blocks of a model's weights lie.
#[derive(Debug, Clone, Copy)]
pub struct Blocks {
    pub size: [usize; 2],
    pub column_offset: usize,
}

impl Blocks {
    /// Those that tensor cores' kernels take, or any.
    pub fn new(random: &mut Random, whole: bool) -> Self {
        let size = match whole {
            true => random.pick(&[[128, 128], [128, 128], [40, 64], [7, 192]]),
            false => random.pick(&[[128, 128], [16, 32], [7, 5], [1, 1], [40, 3]]),
        };
        let column_offset = match whole {
            true => random.within(0..size[1] / 64) * 64,
            false => random.within(0..size[1]),
        };
        Self {
            size,
            column_offset,
        }
    }

    /// `x` after rounding to e4m3, a scale for each row and block of columns: plain f32 code.
    pub fn rounded(&self, x: &Tensor) -> Tensor {
        let mut rows = x.to_vec2::<f32>().unwrap();
        for row in &mut rows {
            let width = row.len();
            let mut start = 0;
            while start < width {
                let [_, block] = self.size;
                let end = (self.column_offset + start) / block * block + block - self.column_offset;
                let part = &mut row[start..end.min(width)];
                let scale = part.iter().fold(0.0_f32, |most, v| most.max(v.abs())) / MOST;
                let divisor = if scale == 0.0 { 1.0 } else { scale };
                part.iter_mut()
                    .for_each(|v| *v = F8E4M3::from_f32(*v / divisor).to_f32() * scale);
                start = end;
            }
        }
        Tensor::new(rows, &Device::Cpu).unwrap()
    }
}

impl Stored {
    /// `row_offset`: where the first row lies within its block, at most.
    pub fn new(
        random: &mut Random,
        (n, k): (usize, usize),
        dtype: DType,
        blocks: Blocks,
        row_offset: usize,
    ) -> Self {
        if dtype != DType::F8E4M3 {
            let values = exact(random, n, k, dtype).to_dtype(dtype).unwrap();
            return Self {
                values,
                scales: None,
            };
        }
        let values = random.vec(n * k, |v| F8E4M3::from_f32(v * MOST));
        let offset = [row_offset % blocks.size[0], blocks.column_offset];
        let grid = [0, 1].map(|axis| (offset[axis] + [n, k][axis]).div_ceil(blocks.size[axis]));
        let scales = random.vec(grid[0] * grid[1], |v| v / MOST);
        Self {
            values: Tensor::from_vec(values, (n, k), &Device::Cpu).unwrap(),
            scales: Some(PartScales {
                values: Tensor::from_vec(scales, (grid[0], grid[1]), &Device::Cpu).unwrap(),
                block: blocks.size,
                offset,
            }),
        }
    }
}

pub fn pack(kernels: &dyn Backend, parts: &[Stored], bias: Option<Tensor>) -> Linear {
    let parts: Vec<&dyn WeightRows> = parts.iter().map(|part| part as _).collect();
    kernels.pack(&parts, bias).unwrap()
}
