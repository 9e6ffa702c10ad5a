//! Embedding, rotation, norms, activation and gathers: each row on its own.

use std::collections::HashMap;

use candle_core::cuda::WrapErr;
use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{DType, Result, Tensor, bail};

use super::modules::{Arg, Grid};
use super::{Cuda, lock, suffix, tensor};
use crate::ops::{Buffer, Linear, Norm, Rope};

/// Bytes of one access.
pub(super) const ACCESS: usize = 16;
/// Of a block, where rows are cut into blocks.
const THREADS: u32 = 128;
/// Bounds of a block that has a whole row.
const ROW_THREADS: (usize, usize) = (32, 512);

/// Inverse frequencies on the GPU, by the bits of their values: a model has one list, which is copied once.
#[derive(Debug, Default)]
pub struct Frequencies {
    lists: HashMap<Vec<u64>, CudaSlice<f64>>,
    /// Of the list that is asked for.
    key: Vec<u64>,
}

impl Frequencies {
    fn at(&mut self, cuda: &Cuda, values: &[f64]) -> Result<Arg> {
        self.key.clear();
        self.key.extend(values.iter().map(|value| value.to_bits()));
        if !self.lists.contains_key(&self.key) {
            let list = cuda.gpu.stream.clone_htod(values).w()?;
            self.lists.insert(self.key.clone(), list);
        }
        match self.lists.get(&self.key) {
            Some(list) => Ok(Arg::At(list.device_ptr(&cuda.gpu.stream).0)),
            None => bail!("{} inverse frequencies were not kept", values.len()),
        }
    }
}

/// The tokens are the step's.
pub fn embed(cuda: &Cuda, table: &Linear, first: u32, rows: usize, out: &Buffer) -> Result<()> {
    let latest = lock(&cuda.answers).record(&cuda.gpu, 0)?;
    let indices = [cuda.step().tokens(), tensor::at(&latest)?];
    copy_rows(cuda, &table.weight, first, indices, rows, out)
}

/// The indices are the step's logit rows.
pub fn gather(cuda: &Cuda, x: &Tensor, rows: usize, out: &Buffer) -> Result<()> {
    let indices = [cuda.step().logit_rows(), Arg::At(0)];
    copy_rows(cuda, x, 0, indices, rows, out)
}

fn copy_rows(
    cuda: &Cuda,
    table: &Tensor,
    first: u32,
    [indices, latest]: [Arg; 2],
    rows: usize,
    out: &Buffer,
) -> Result<()> {
    let (table_rows, width) = table.dims2()?;
    if table.dtype() != out.dtype() || width != out.dim(1)? {
        bail!(
            "rows of {width} {:?} cannot be copied into a buffer of {:?} {:?}",
            table.dtype(),
            out.dims(),
            out.dtype()
        );
    }
    let (from, to) = (tensor::address(table)?, tensor::address(out)?);
    let row_bytes = width * table.dtype().size_in_bytes();
    let (unit, function) = match table.dtype().size_in_bytes() {
        _ if in_accesses(row_bytes, &[from, to]) => (ACCESS, "gather_b128"),
        4 => (4, "gather_b32"),
        2 => (2, "gather_b16"),
        _ => bail!("rows of {:?} are not copied on a GPU", table.dtype()),
    };
    let units = row_bytes / unit;
    let arguments = [
        Arg::At(from),
        Arg::U32(table_rows as u32),
        Arg::U32(first),
        indices,
        latest,
        Arg::U32(units as u32),
        Arg::At(to),
    ];
    cuda.launch("gather", function, cut(rows, units), &arguments)
}

/// The positions are the step's.
pub fn rope(cuda: &Cuda, rope: &Rope, rows: usize, out: &Buffer) -> Result<()> {
    let half = rope.inverse_frequencies.len();
    let frequencies = lock(&cuda.rope).at(cuda, &rope.inverse_frequencies)?;
    let arguments = [
        cuda.step().positions(),
        frequencies,
        Arg::F64(rope.attention_factor),
        Arg::U32(half as u32),
        tensor::at(out)?,
    ];
    cuda.launch("rope", "rope_f32", cut(rows, half), &arguments)
}

pub fn add_norm(
    cuda: &Cuda,
    x: &Buffer,
    delta: Option<&Buffer>,
    norm: &Norm,
    rows: usize,
    out: &Buffer,
) -> Result<()> {
    let (width, dtype) = (x.dim(1)?, x.dtype());
    let [x, out] = [tensor::address(x)?, tensor::address(out)?];
    let delta = delta.map_or(Ok(0), |delta| tensor::address(delta))?;
    let weight = tensor::address(&norm.weight)?;
    let (function, together) = variant("add_norm", dtype, width, &[x, delta, weight, out])?;
    let threads = row_threads(width, together);
    let arguments = [
        Arg::At(x),
        Arg::At(delta),
        Arg::At(weight),
        Arg::F32(norm.eps),
        Arg::U32(width as u32),
        Arg::At(out),
    ];
    cuda.launch("norm", &function, Grid::row(rows, threads), &arguments)
}

pub fn silu_mul(cuda: &Cuda, gate_up: &Tensor, rows: usize, out: &Buffer) -> Result<()> {
    let (width, dtype) = (gate_up.dim(1)? / 2, gate_up.dtype());
    let [gate_up, out] = [tensor::address(gate_up)?, tensor::address(out)?];
    let (function, together) = variant("silu_mul", dtype, width, &[gate_up, out])?;
    let grid = cut(rows, width.div_ceil(together));
    let arguments = [Arg::At(gate_up), Arg::U32(width as u32), Arg::At(out)];
    cuda.launch("activation", &function, grid, &arguments)
}

/// The kernel for rows of `width`, and the elements that each of its threads takes together.
fn variant(kernel: &str, dtype: DType, width: usize, at: &[u64]) -> Result<(String, usize)> {
    let (element, suffix) = (dtype.size_in_bytes(), suffix(dtype)?);
    Ok(match in_accesses(width * element, at) {
        true => (format!("{kernel}_{suffix}"), ACCESS / element),
        false => (format!("{kernel}_odd_{suffix}"), 1),
    })
}

/// Whether all rows start at multiples of an access.
pub(super) fn in_accesses(row_bytes: usize, at: &[u64]) -> bool {
    row_bytes.is_multiple_of(ACCESS) && at.iter().all(|at| at.is_multiple_of(ACCESS as u64))
}

/// Of a block that has a row of `width`, of which each takes so many elements `together`.
pub(super) fn row_threads(width: usize, together: usize) -> u32 {
    let (least, most) = ROW_THREADS;
    width.div_ceil(together).next_multiple_of(least).min(most) as u32
}

/// A thread for each of `units` of each row.
fn cut(rows: usize, units: usize) -> Grid {
    Grid {
        blocks: (rows as u32, units.div_ceil(THREADS as usize) as u32, 1),
        threads: THREADS,
        shared: 0,
    }
}
