//! Linear layers whose weights are e4m3 with a scale for each block.

use candle_core::{Result, Tensor};

use super::product::{Input, Output, Rows, Tile, product};
use super::{Cuda, linear, tensor};
use crate::ops::{BlockScales, Buffer, Linear};

/// `out[i] = (W * scales) x[i] + b` for the first `rows` rows; `x` rounded to e4m3 first where the scales ask.
///
/// # Errors
/// Operands that do not fit together, or a failure of the GPU.
pub fn linear(
    cuda: &Cuda,
    x: &Tensor,
    w: &Linear,
    scales: &BlockScales,
    rows: usize,
    out: &Buffer,
) -> Result<()> {
    if rows == 0 || w.n == 0 {
        return Ok(());
    }
    linear::check(x, cuda.dtype, w, w.n, rows, out)?;
    let weights = cuda.tables.of(cuda, &[w])?;
    let mut input = Input::activations(x)?;
    if scales.quantize_activations {
        input = input.quantized(cuda, &weights, rows, None)?;
    }
    let tile = Tile::of(input.fits(&weights), rows);
    let output = Output {
        at: tensor::at(out)?,
        dtype: out.dtype(),
        bias: tensor::at_or_null(w.bias.as_ref())?,
    };
    product(cuda, &weights, tile, input, Rows::All(rows), output)
}
