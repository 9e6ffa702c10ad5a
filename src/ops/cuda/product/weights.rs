//! Weights as kernels of products find them: a table of addresses, built once for each layer or set of experts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Tensor, TensorId, bail};

use crate::ops::cuda::modules::Arg;
use crate::ops::cuda::{Cuda, lock, tensor};
use crate::ops::{BlockScales, Linear};

/// First and last weight, and how many: an id is never given twice.
type Key = (TensorId, TensorId, usize);

/// All tables so far.
#[derive(Debug, Default)]
pub struct Tables(Mutex<HashMap<Key, Arc<Weights>>>);

/// Where the weights of one or several layers of one shape lie; the layers keep them.
#[derive(Debug)]
pub struct Weights {
    pub n: usize,
    pub k: usize,
    pub dtype: DType,
    /// Of e4m3.
    pub blocks: Option<Blocks>,
    /// For each layer the addresses of its values, its scales and the grid rows.
    pub(super) table: Tensor,
    /// u32 `[n]`: the row of scales of each row. One for all layers.
    grid_rows: Option<Tensor>,
}

/// How blocks of scales lie along k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Columns of the grid of scales.
    pub count: usize,
    pub width: usize,
    pub column_offset: usize,
}

impl Tables {
    /// Those of `layers`, which are of one shape.
    ///
    /// # Errors
    /// There are none, or they differ.
    pub fn of(&self, cuda: &Cuda, layers: &[&Linear]) -> Result<Arc<Weights>> {
        let (Some(first), Some(last)) = (layers.first(), layers.last()) else {
            bail!("a product without weights");
        };
        let key = (first.weight.id(), last.weight.id(), layers.len());
        if let Some(found) = lock(&self.0).get(&key) {
            return Ok(found.clone());
        }
        let built = Arc::new(Weights::new(cuda, first, layers)?);
        lock(&self.0).insert(key, built.clone());
        Ok(built)
    }
}

impl Weights {
    /// Where the row of scales of each row stands; null of weights without.
    pub fn grid_rows(&self) -> Result<Arg> {
        tensor::at_or_null(self.grid_rows.as_ref())
    }

    fn new(cuda: &Cuda, first: &Linear, layers: &[&Linear]) -> Result<Self> {
        let scales = first.scales.as_ref();
        let grid_rows = scales.map(|scales| grid_rows(cuda, scales, first.n));
        let grid_rows = grid_rows.transpose()?;
        let grid_rows_at = grid_rows.as_ref().map_or(Ok(0), tensor::address)?;
        let mut words = Vec::new();
        for layer in layers {
            if !alike(first, layer) {
                bail!(
                    "weights of one product differ: {} x {} in {:?} and {} x {} in {:?}",
                    first.n,
                    first.k,
                    first.weight.dtype(),
                    layer.n,
                    layer.k,
                    layer.weight.dtype()
                );
            }
            let scales = layer.scales.as_ref();
            let scales_at = scales.map_or(Ok(0), |scales| tensor::address(&scales.values))?;
            for address in [tensor::address(&layer.weight)?, scales_at, grid_rows_at] {
                words.extend([address as u32, (address >> 32) as u32]);
            }
        }
        let blocks = scales.map(|scales| {
            Ok::<_, candle_core::Error>(Blocks {
                count: scales.values.dim(1)?,
                width: scales.block[1],
                column_offset: scales.column_offset,
            })
        });
        Ok(Self {
            n: first.n,
            k: first.k,
            dtype: first.weight.dtype(),
            blocks: blocks.transpose()?,
            table: sent(cuda, words)?,
            grid_rows,
        })
    }
}

/// The row of scales for each of `n` rows of a weight.
fn grid_rows(cuda: &Cuda, scales: &BlockScales, n: usize) -> Result<Tensor> {
    let starts = scales.runs.iter().map(|&(first, _)| first);
    let ends = starts.skip(1).chain([n]);
    let mut rows = Vec::with_capacity(n);
    for (&(_, row), end) in scales.runs.iter().zip(ends) {
        rows.resize(end.min(n), row as u32);
    }
    sent(cuda, rows)
}

fn sent(cuda: &Cuda, words: Vec<u32>) -> Result<Tensor> {
    let count = words.len();
    tensor::moved(&cuda.gpu, &Tensor::from_vec(words, count, &Device::Cpu)?)
}

/// Whether one kernel can compute with both.
fn alike(a: &Linear, b: &Linear) -> bool {
    let place = |linear: &Linear| {
        let scales = linear.scales.as_ref()?;
        Some((
            scales.block,
            scales.runs.clone(),
            scales.column_offset,
            scales.values.dims().to_vec(),
        ))
    };
    let shape = |linear: &Linear| (linear.n, linear.k, linear.weight.dtype());
    shape(a) == shape(b) && place(a) == place(b)
}
