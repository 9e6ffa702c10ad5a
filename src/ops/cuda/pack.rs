//! Weights on their way to the GPU: row-major `[n, k]`, parts one under the other, a few rows at a time.

use candle_core::{DType, Result, Tensor, bail};

use super::Cuda;
use super::uploads::PART_BYTES;
use super::{lock, tensor};
use crate::ops::{BlockScales, Linear, WeightRows, weight};

/// See [`crate::ops::Kernels::pack`]. Weights have the type of the activations, but for e4m3 with its scales.
pub fn pack(cuda: &Cuda, parts: &[&dyn WeightRows], bias: Option<Tensor>) -> Result<Linear> {
    let scales = BlockScales::stack(parts)?;
    let dtype = match scales {
        Some(_) => DType::F8E4M3,
        None => cuda.dtype,
    };
    let Some(k) = parts.first().map(|part| part.shape().1) else {
        bail!("a weight of no parts");
    };
    let n = parts.iter().map(|part| part.shape().0).sum();
    let packed = tensor::uninitialized(&cuda.gpu, &[n, k], dtype)?;
    let row_bytes = k * dtype.size_in_bytes();
    let rows_at_once = (PART_BYTES / row_bytes.max(1)).max(1);
    let mut to = tensor::address(&packed)?;
    for part in parts {
        let rows = part.shape().0;
        for start in (0..rows).step_by(rows_at_once) {
            let range = start..(start + rows_at_once).min(rows);
            let count = range.len();
            let values = match dtype {
                DType::F8E4M3 => {
                    let stored = part.read(range)?;
                    weight::check_e4m3(&stored)?;
                    stored
                }
                _ if part.dtype() == DType::F8E4M3 => {
                    weight::read_widened(*part, range)?.to_dtype(dtype)?
                }
                _ => part.read(range)?.to_dtype(dtype)?,
            };
            tensor::bytes(&values.contiguous()?, |bytes| {
                lock(&cuda.uploads).send(&cuda.gpu, bytes, to)
            })?;
            to += (count * row_bytes) as u64;
        }
    }
    let moved = |tensor: Tensor| tensor::moved(&cuda.gpu, &tensor);
    Ok(Linear {
        n,
        k,
        weight: packed,
        bias: bias.map(moved).transpose()?,
        scales: scales
            .map(|scales| {
                let values = moved(scales.values.clone())?;
                candle_core::Result::Ok(BlockScales { values, ..scales })
            })
            .transpose()?,
    })
}
