//! From rows of logits to a few words each, so that no row of logits leaves the GPU.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::Cuda;
use crate::ops::{Ask, Buffer, Summary};

/// Room for the answers, on the GPU and on their way from it.
#[derive(Debug, Default)]
pub struct Space {}

pub fn greedy_launch(
    _cuda: &Cuda,
    _logits: &Buffer,
    _vocab: &Range<usize>,
    _rows: usize,
) -> Result<()> {
    bail!("not built")
}

pub fn greedy_read(_cuda: &Cuda, _rows: usize, _out: &mut Vec<(u32, f32)>) -> Result<()> {
    bail!("not built")
}

pub fn summarize(
    _cuda: &Cuda,
    _logits: &Tensor,
    _vocab: &Range<usize>,
    _asks: &[Ask],
    _out: &mut Vec<Summary>,
) -> Result<()> {
    bail!("not built")
}

pub fn locate(
    _cuda: &Cuda,
    _logits: &Tensor,
    _vocab: &Range<usize>,
    _row: usize,
    _temperature: f32,
    _mass: f64,
) -> Result<(u32, f32)> {
    bail!("not built")
}
