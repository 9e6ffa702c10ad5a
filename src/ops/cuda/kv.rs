//! Head norms, rotation and the way into the paged cache, in one kernel.

use candle_core::{Result, Tensor, bail};

use super::elementwise::{ACCESS, in_accesses};
use super::modules::{Arg, Grid};
use super::{Cuda, suffix, tensor};
use crate::ops::{AttentionShape, Buffer, HeadNorms, KvLayer, Norm};

const THREADS: usize = 128;
/// What the kernel's lanes hold of a head at most.
const LARGEST_HEAD: usize = 256;

/// The slots are the step's.
pub fn write(
    cuda: &Cuda,
    qkv: &Buffer,
    shape: &AttentionShape,
    norms: Option<&HeadNorms>,
    rotation: &Tensor,
    rows: usize,
    kv: &KvLayer,
) -> Result<()> {
    let d = shape.head_dim;
    if !d.is_multiple_of(2) || d > LARGEST_HEAD {
        bail!("heads of {d} elements: on a GPU they are even, and {LARGEST_HEAD} at most");
    }
    let (q_weight, q_eps) = parameters(norms.map(|norms| &norms.q))?;
    let (k_weight, k_eps) = parameters(norms.map(|norms| &norms.k))?;
    let [from, turns, k, v] = [
        tensor::address(qkv)?,
        tensor::address(rotation)?,
        tensor::address(&kv.k)?,
        tensor::address(&kv.v)?,
    ];
    let element = qkv.dtype().size_in_bytes();
    let whole = in_accesses(d / 2 * element, &[from, turns, k, v, q_weight, k_weight]);
    let (variant, together) = match whole {
        true => ("", ACCESS / element),
        false => ("odd_", 1),
    };
    let (from_type, to_type) = (suffix(qkv.dtype())?, suffix(kv.k.dtype())?);
    let function = format!("write_kv_{variant}{from_type}_{to_type}");
    // Lanes that have one head.
    let group = (d / 2).div_ceil(together).next_power_of_two().min(32);
    let heads = shape.num_heads + 2 * shape.num_kv_heads;
    let grid = Grid {
        blocks: (rows as u32, heads.div_ceil(THREADS / group) as u32, 1),
        threads: THREADS as u32,
        shared: 0,
    };
    let arguments = [
        Arg::At(from),
        Arg::At(q_weight),
        Arg::F32(q_eps),
        Arg::At(k_weight),
        Arg::F32(k_eps),
        Arg::At(turns),
        cuda.step().slots(),
        Arg::U32(shape.num_heads as u32),
        Arg::U32(shape.num_kv_heads as u32),
        Arg::U32(d as u32),
        Arg::U32(group as u32),
        Arg::At(k),
        Arg::At(v),
    ];
    cuda.launch("kv_write", &function, grid, &arguments)
}

/// Where a norm's weight lies, and its eps; the null address where there is none.
fn parameters(norm: Option<&Norm>) -> Result<(u64, f32)> {
    norm.map_or(Ok((0, 0.0)), |norm| {
        Ok((tensor::address(&norm.weight)?, norm.eps))
    })
}
