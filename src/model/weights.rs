//! Where weights come from: a checkpoint's files, or seeded random numbers at the same shapes.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use crate::ops::WeightRows;
use crate::parallel::shard::{Slice, TensorPlan};

/// Tensors by Hugging Face name, on the CPU, read on demand.
pub trait WeightSource: Send + Sync {
    fn dtype(&self, name: &str) -> Result<DType>;

    /// The part of the matrix `name` in these rows and columns; the whole has rows of `width`.
    fn block(
        &self,
        name: &str,
        width: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Tensor>;

    /// Elements `range` of the vector `name`, which has `len`, widened to f32.
    fn vector(&self, name: &str, len: usize, range: Range<usize>) -> Result<Tensor>;
}

/// One rank's slice of one matrix of a source.
pub struct Matrix<'a> {
    source: &'a dyn WeightSource,
    name: &'a str,
    width: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    /// Rows of zeros behind the source's.
    padding: usize,
    dtype: DType,
}

impl<'a> Matrix<'a> {
    pub fn new(source: &'a dyn WeightSource, plan: &'a TensorPlan, slice: Slice) -> Result<Self> {
        let name = &plan.tensor.name;
        let (height, width) = match plan.tensor.shape[..] {
            [height, width] => (height, width),
            ref other => candle_core::bail!("{name} is {other:?}, and a matrix was expected"),
        };
        let (rows, columns) = match slice.axis {
            0 => (slice.range, 0..width),
            _ => (0..height, slice.range),
        };
        Ok(Self {
            source,
            name,
            width,
            rows,
            columns,
            padding: slice.padding,
            dtype: source.dtype(name)?,
        })
    }
}

impl WeightRows for Matrix<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows.len() + self.padding, self.columns.len())
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn read(&self, rows: Range<usize>) -> Result<Tensor> {
        let stored = rows.start.min(self.rows.len())..rows.end.min(self.rows.len());
        let zeros = rows.len() - stored.len();
        let zeros = || Tensor::zeros((zeros, self.columns.len()), self.dtype, &Device::Cpu);
        if stored.is_empty() {
            return zeros();
        }
        let all_stored = stored.len() == rows.len();
        let stored = self.rows.start + stored.start..self.rows.start + stored.end;
        let values = self
            .source
            .block(self.name, self.width, stored, self.columns.clone())?;
        match all_stored {
            true => Ok(values),
            false => Tensor::cat(&[values, zeros()?], 0),
        }
    }
}
