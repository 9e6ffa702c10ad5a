//! Embedding, rotation, norms, activation and gathers: each row on its own.

use candle_core::{Result, Tensor, bail};

use super::Cuda;
use crate::ops::{Buffer, Linear, Norm, Rope};

/// Inverse frequencies of the model's rotation, on the GPU.
#[derive(Debug, Default)]
pub struct Frequencies {}

pub fn embed(
    _cuda: &Cuda,
    _table: &Linear,
    _first: u32,
    _rows: usize,
    _out: &Buffer,
) -> Result<()> {
    bail!("not built")
}

pub fn rope(_cuda: &Cuda, _rope: &Rope, _rows: usize, _out: &Buffer) -> Result<()> {
    bail!("not built")
}

pub fn add_norm(
    _cuda: &Cuda,
    _x: &Buffer,
    _delta: Option<&Buffer>,
    _norm: &Norm,
    _rows: usize,
    _out: &Buffer,
) -> Result<()> {
    bail!("not built")
}

pub fn silu_mul(_cuda: &Cuda, _gate_up: &Tensor, _rows: usize, _out: &Buffer) -> Result<()> {
    bail!("not built")
}

pub fn gather(_cuda: &Cuda, _x: &Tensor, _rows: usize, _out: &Buffer) -> Result<()> {
    bail!("not built")
}
