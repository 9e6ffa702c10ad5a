//! Head norms, rotation and the way into the paged cache, in one kernel.

use candle_core::{Result, Tensor, bail};

use super::Cuda;
use crate::ops::{AttentionShape, Buffer, HeadNorms, KvLayer};

pub fn write(
    _cuda: &Cuda,
    _qkv: &Buffer,
    _shape: &AttentionShape,
    _norms: Option<&HeadNorms>,
    _rotation: &Tensor,
    _rows: usize,
    _kv: &KvLayer,
) -> Result<()> {
    bail!("not built")
}
