//! A linear layer's tensors handed to its kernel.

use std::cell::RefCell;

use candle_core::{Result, Tensor};

use super::elementwise::for_rows;
use super::gemm::{self, Gemm};
use super::packing::Activations;
use super::scales::Scales;
use super::{e4m3, storage};
use crate::ops::{BlockScales, Buffer, Linear};

thread_local! {
    /// Activations rounded to e4m3, grown to the largest layer and kept.
    static ROUNDED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

pub fn linear(
    x: &Tensor,
    w: &Linear,
    activations: Activations,
    rows: usize,
    out: &Buffer,
) -> Result<()> {
    let ldx = x.dim(1)?;
    storage::read(x, |x: &[f32]| match rounding(w) {
        None => multiply(x, ldx, w, activations, rows, out),
        Some(scales) => {
            let mut rounded = ROUNDED.take();
            rounded.resize(rows * w.k, 0.0);
            for_rows(&mut rounded, w.k, |row, rounded| {
                rounded.copy_from_slice(&x[row * ldx..][..w.k]);
                e4m3::quantize_blocks(rounded, scales.block[1], scales.column_offset);
            });
            let done = multiply(&rounded, w.k, w, activations, rows, out);
            ROUNDED.set(rounded);
            done
        }
    })
}

/// The scales of a weight whose activations are to be rounded.
pub(super) fn rounding(w: &Linear) -> Option<&BlockScales> {
    w.scales
        .as_ref()
        .filter(|scales| scales.quantize_activations)
}

fn multiply(
    x: &[f32],
    ldx: usize,
    w: &Linear,
    activations: Activations,
    rows: usize,
    out: &Buffer,
) -> Result<()> {
    let ldo = out.dim(1)?;
    let (n, k) = (w.n, w.k);
    with_bias(w, |bias| {
        with_scales(w, |scales| {
            by_dtype!(w.weight.dtype(), T => storage::read(&w.weight, |packed: &[T]| {
                storage::write(out, |out: &mut [f32]| {
                    let job = Gemm { x, ldx, rows, activations, w: packed, n, k, scales, bias, ldo };
                    gemm::linear(&job, out);
                    Ok(())
                })
            }))
        })
    })
}

pub(super) fn with_bias<R>(w: &Linear, f: impl FnOnce(Option<&[f32]>) -> Result<R>) -> Result<R> {
    match &w.bias {
        None => f(None),
        Some(bias) => storage::read(bias, |bias: &[f32]| f(Some(bias))),
    }
}

/// Calls `f` with the view of the weight's scales.
pub(super) fn with_scales<R>(
    w: &Linear,
    f: impl FnOnce(Option<Scales<'_>>) -> Result<R>,
) -> Result<R> {
    match &w.scales {
        None => f(None),
        Some(scales) => {
            let grid_columns = scales.values.dim(1)?;
            storage::read(&scales.values, |values: &[f32]| {
                f(Some(Scales {
                    values,
                    grid_columns,
                    block: scales.block,
                    runs: &scales.runs,
                    column_offset: scales.column_offset,
                    first_row: 0,
                }))
            })
        }
    }
}
