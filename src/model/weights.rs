//! Where weights come from: a checkpoint's files, or seeded random numbers at the same shapes.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};

use crate::ops::WeightRows;

/// Tensors by Hugging Face name, on the CPU, read on demand.
pub trait WeightSource: Sync {
    fn dtype(&self, name: &str) -> Result<DType>;

    /// Rows of the matrix `name`, which has `columns` columns.
    fn rows(&self, name: &str, rows: Range<usize>, columns: usize) -> Result<Tensor>;

    /// The vector `name` of `len` elements, widened to f32.
    fn vector(&self, name: &str, len: usize) -> Result<Tensor>;
}

/// One whole matrix of a source.
pub struct Matrix<'a> {
    pub source: &'a dyn WeightSource,
    pub name: String,
    pub rows: usize,
    pub columns: usize,
    pub dtype: DType,
}

impl<'a> Matrix<'a> {
    pub fn new(
        source: &'a dyn WeightSource,
        name: String,
        rows: usize,
        columns: usize,
    ) -> Result<Self> {
        let dtype = source.dtype(&name)?;
        Ok(Self {
            source,
            name,
            rows,
            columns,
            dtype,
        })
    }
}

impl WeightRows for Matrix<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn read(&self, rows: Range<usize>) -> Result<Tensor> {
        self.source.rows(&self.name, rows, self.columns)
    }
}
