//! Linear layers whose weights are e4m3 with a scale for each block.

use candle_core::{DType, Result, Tensor, bail};

use super::modules::{Arg, Grid};
use super::product::{Input, Output, Rows, Tile, Weights, product};
use super::{Cuda, linear, lock, suffix, tensor};
use crate::ops::scratch::{WIDENED_MAJOR, WIDENED_ROWS};
use crate::ops::{BlockScales, Buffer, Linear};

/// A layer's weight and rows once widened, as large as they ever were.
#[derive(Debug, Default)]
pub struct Space {
    weight: Option<Tensor>,
    x: Option<Tensor>,
}

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
    let widens = cuda.gpu.capability / 10 == WIDENED_MAJOR && rows >= WIDENED_ROWS;
    let widens = widens && input.fits(&weights);
    if scales.quantize_activations {
        input = input.quantized(cuda, &weights, rows, None)?;
    }
    if widens {
        return widened(cuda, x, w, &weights, input, rows, out);
    }
    let tile = Tile::of(input.fits(&weights), rows);
    let output = Output {
        at: tensor::at(out)?,
        dtype: out.dtype(),
        bias: tensor::at_or_null(w.bias.as_ref())?,
    };
    product(cuda, &weights, tile, input, Rows::All(rows), output)
}

/// By cuBLASLt, of 16-bit numbers. Hopper multiplies e4m3 fast by instructions that our kernels have not; widening a layer
/// takes as long as some hundred rows of its product.
fn widened(
    cuda: &Cuda,
    x: &Tensor,
    w: &Linear,
    weights: &Weights,
    input: Input,
    rows: usize,
    out: &Buffer,
) -> Result<()> {
    let Some(scales) = &w.scales else {
        bail!("a weight of {:?} has no scales", w.weight.dtype());
    };
    let mut space = lock(&cuda.widened);
    let space = &mut *space;
    let values = [tensor::at(&w.weight)?, tensor::at(&scales.values)?];
    let weight = widen(
        cuda,
        &mut space.weight,
        weights,
        values,
        weights.grid_rows()?,
        w.n,
    )?;
    let x = match input.dtype {
        DType::F8E4M3 => {
            let values = [Arg::At(input.at), Arg::At(input.scales)];
            widen(cuda, &mut space.x, weights, values, Arg::At(0), rows)?
        }
        _ => x.clone(),
    };
    let wide = Linear {
        weight,
        scales: None,
        ..w.clone()
    };
    linear::linear(cuda, &x, &wide, rows, out)
}

/// `values` and their scales, of the columns of `weights`, as numbers of the activations' type `[rows, k]` in `slot`.
fn widen(
    cuda: &Cuda,
    slot: &mut Option<Tensor>,
    weights: &Weights,
    [values, scales]: [Arg; 2],
    grid_rows: Arg,
    rows: usize,
) -> Result<Tensor> {
    const THREADS: usize = 128;
    const EACH: usize = 16;
    let (k, Some(blocks)) = (weights.k, weights.blocks) else {
        bail!("numbers without scales are not widened");
    };
    let at = tensor::room(&cuda.gpu, slot, rows * k, cuda.dtype)?;
    let grid = Grid {
        blocks: (rows as u32, k.div_ceil(THREADS * EACH) as u32, 1),
        threads: THREADS as u32,
        shared: 0,
    };
    let arguments = [
        values,
        scales,
        grid_rows,
        Arg::At(at),
        Arg::U32(k as u32),
        Arg::U32(blocks.count as u32),
        Arg::U32(blocks.width as u32),
        Arg::U32(blocks.column_offset as u32),
    ];
    let function = format!("widen_{}", suffix(cuda.dtype)?);
    cuda.launch("widen", &function, grid, &arguments)?;
    match slot {
        Some(room) => room.narrow(0, 0, rows * k)?.reshape((rows, k)),
        None => bail!("there is no room for {rows} rows of {k}"),
    }
}
