//! Causal attention over the paged cache: split-KV for sequences with one row, tensor cores for longer ones.

use candle_core::{Result, Tensor, bail};

use super::Cuda;
use crate::ops::{AttentionShape, Buffer, KvLayer};

/// Partial results of split sequences.
#[derive(Debug, Default)]
pub struct Space {}

pub fn attend(
    _cuda: &Cuda,
    _qkv: &Tensor,
    _shape: &AttentionShape,
    _kv: &KvLayer,
    _out: &Buffer,
) -> Result<()> {
    bail!("not built")
}
