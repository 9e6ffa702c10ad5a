//! Linear layers of few rows by a kernel of our own, which reads weights as fast as memory gives them.

use candle_core::{DType, Result, Tensor};

use crate::ops::cuda::elementwise::in_accesses;
use crate::ops::cuda::modules::{Arg, Grid};
use crate::ops::cuda::product::store_type;
use crate::ops::cuda::{Cuda, suffix, tensor};
use crate::ops::{Buffer, Linear};

/// As in kernels/gemv.cu.
const ROWS: usize = 8;
const FEATURES: usize = 16;
const THREADS: u32 = 256;

/// Whether the kernel takes `rows` rows of `x`: by shapes alone, so that ranks which compute the same agree in every bit.
pub fn takes(x: &Tensor, w: &Linear, rows: usize) -> Result<bool> {
    let dtype = w.weight.dtype();
    let known = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
    let at = [tensor::address(x)?, tensor::address(&w.weight)?];
    Ok(known && rows <= ROWS && in_accesses(w.k * dtype.size_in_bytes(), &at))
}

/// As [`super::linear`], or where `gated`, as [`super::gated`]; see [`takes`].
pub fn gemv(
    cuda: &Cuda,
    x: &Tensor,
    w: &Linear,
    rows: usize,
    out: &Buffer,
    gated: bool,
) -> Result<()> {
    let (variant, features) = match gated {
        true => ("gated_", w.n / 2),
        false => ("", w.n),
    };
    let own = if gated { FEATURES / 2 } else { FEATURES };
    let function = format!("gemv_{variant}{}", suffix(w.weight.dtype())?);
    let arguments = [
        tensor::at(&w.weight)?,
        tensor::at(x)?,
        tensor::at_or_null(w.bias.as_ref())?,
        tensor::at(out)?,
        Arg::U32(store_type(out.dtype())?),
        Arg::U32(rows as u32),
        Arg::U32(w.n as u32),
        Arg::U32(w.k as u32),
    ];
    let grid = Grid::row(features.div_ceil(own), THREADS);
    cuda.launch("gemv", &function, grid, &arguments)
}
