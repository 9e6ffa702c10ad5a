//! Stored matrices become packed ones, a part at a time.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::pages;
use super::panel::{self, CACHE_LINE, PanelElement, packed_len};
use crate::ops::storage::{self, Element};
use crate::ops::weight::{BlockScales, Linear, WeightRows, check_e4m3, read_widened};

/// Elements read from a source at a time while packing: bounds the second copy.
const PACK_CHUNK: usize = 1 << 22;

pub fn pack(parts: &[&dyn WeightRows], bias: Option<Tensor>) -> Result<Linear> {
    let Some(first) = parts.first() else {
        bail!("a linear layer was given no weights");
    };
    let k = first.shape().1;
    let n = parts.iter().map(|part| part.shape().0).sum();
    // Parts of one layer that differ in type meet in f32.
    let dtype = match parts.iter().all(|part| part.dtype() == first.dtype()) {
        true => first.dtype(),
        false => DType::F32,
    };
    let scales = BlockScales::stack(parts)?;
    let weight = by_dtype!(dtype, T => pack_as::<T>(parts, n, k)?);
    Ok(Linear {
        n,
        k,
        weight,
        bias,
        scales,
    })
}

fn pack_as<T: Element + PanelElement>(
    parts: &[&dyn WeightRows],
    n: usize,
    k: usize,
) -> Result<Tensor> {
    let len = packed_len::<T>(n, k);
    let spare = CACHE_LINE / size_of::<T>();
    let mut room = pages::huge(<T as PanelElement>::ZERO, len + spare);
    // The system's large blocks begin behind a header, and loads that cross two lines cost twice.
    let first_line = room.as_ptr().align_offset(CACHE_LINE).min(spare);
    let packed = &mut room[first_line..first_line + len];
    let chunk = (PACK_CHUNK / k).max(1);
    let mut first = 0;
    for part in parts {
        let (rows, columns) = part.shape();
        if columns != k {
            bail!("stacked weights have {k} and {columns} columns");
        }
        for start in (0..rows).step_by(chunk) {
            let range = start..rows.min(start + chunk);
            let count = range.len();
            let values = match T::DTYPE {
                DType::F32 => read_widened(*part, range)?,
                _ => part.read(range)?,
            };
            if T::DTYPE == DType::F8E4M3 {
                check_e4m3(&values)?;
            }
            storage::read(&values, |values: &[T]| {
                let source = panel::Source {
                    values,
                    stride: k,
                    rows: count,
                    k,
                };
                panel::pack(source, first + start, packed);
                Ok(())
            })?;
        }
        first += rows;
    }
    let all = room.len();
    Tensor::from_vec(room, all, &Device::Cpu)?.narrow(0, first_line, len)
}
