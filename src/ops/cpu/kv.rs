//! The paged cache on the CPU: new k and v rows go in, attention reads them back.

use candle_core::Result;
use float8::F8E4M3;
use half::{bf16, f16};

use super::attention::{self, Attend};
use super::e4m3;
use super::elementwise::{for_rows, rotate};
use super::packing::Activations;
use super::panel::PanelElement;
use crate::ops::row::rms_norm_in_place;
use crate::ops::storage::{self, Element};
use crate::ops::{AttentionShape, Buffer, HeadNorms, KvLayer, Norm, Rows};

/// An element type of the cache.
pub trait CacheElement: Element + PanelElement {
    /// Nearest, ties to even; e4m3 saturates.
    fn of(value: f32) -> Self;
}

impl CacheElement for f32 {
    fn of(value: f32) -> Self {
        value
    }
}

impl CacheElement for bf16 {
    fn of(value: f32) -> Self {
        bf16::from_f32(value)
    }
}

impl CacheElement for f16 {
    fn of(value: f32) -> Self {
        f16::from_f32(value)
    }
}

impl CacheElement for F8E4M3 {
    fn of(value: f32) -> Self {
        e4m3::round(value)
    }
}

/// Weight and eps of a norm whose weight is locked for reading.
type HeadNorm<'a> = Option<(&'a [f32], f32)>;

pub fn write<T: CacheElement>(
    qkv: &Buffer,
    shape: &AttentionShape,
    norms: Option<&HeadNorms>,
    rotation: &candle_core::Tensor,
    rows: &Rows,
    cache: &KvLayer,
) -> Result<()> {
    let (width, d) = (shape.qkv_width(), shape.head_dim);
    let k_start = shape.q_width();
    let v_start = k_start + shape.num_kv_heads * d;
    with_norm(norms.map(|n| &n.q), |q_norm| {
        with_norm(norms.map(|n| &n.k), |k_norm| {
            storage::read(rotation, |rotation: &[f32]| {
                storage::write(qkv, |qkv: &mut [f32]| {
                    let qkv = &mut qkv[..rows.len() * width];
                    for_rows(qkv, width, |i, row| {
                        let rotation = &rotation[i * d..][..d];
                        let (q, k) = row[..v_start].split_at_mut(k_start);
                        heads(q, d, q_norm, rotation);
                        heads(k, d, k_norm, rotation);
                    });
                    store::<T>(qkv, width, k_start..v_start, &rows.slots, &cache.k)?;
                    store::<T>(qkv, width, v_start..width, &rows.slots, &cache.v)
                })
            })
        })
    })
}

/// Norm, where there is one, and rotation of each head.
fn heads(x: &mut [f32], d: usize, norm: HeadNorm, rotation: &[f32]) {
    for head in x.chunks_exact_mut(d) {
        if let Some((weight, eps)) = norm {
            rms_norm_in_place(head, weight, eps);
        }
        rotate(head, rotation);
    }
}

/// Rounds columns `columns` of each row into its slot.
fn store<T: CacheElement>(
    qkv: &[f32],
    width: usize,
    columns: std::ops::Range<usize>,
    slots: &[u32],
    cache: &Buffer,
) -> Result<()> {
    storage::write(cache, |cache: &mut [T]| {
        for (row, &slot) in qkv.chunks_exact(width).zip(slots) {
            let at = slot as usize * columns.len();
            let values = &row[columns.clone()];
            for (cached, &value) in cache[at..at + columns.len()].iter_mut().zip(values) {
                *cached = T::of(value);
            }
        }
        Ok(())
    })
}

fn with_norm(norm: Option<&Norm>, f: impl FnOnce(HeadNorm) -> Result<()>) -> Result<()> {
    match norm {
        None => f(None),
        Some(norm) => storage::read(&norm.weight, |weight: &[f32]| f(Some((weight, norm.eps)))),
    }
}

pub fn attend<T: CacheElement>(
    qkv: &candle_core::Tensor,
    shape: &AttentionShape,
    activations: Activations,
    rows: &Rows,
    cache: &KvLayer,
    out: &Buffer,
) -> Result<()> {
    let block_size = cache.k.dim(1)?;
    storage::read(qkv, |q: &[f32]| {
        storage::read(&cache.k, |k: &[T]| {
            storage::read(&cache.v, |v: &[T]| {
                storage::write(out, |out: &mut [f32]| {
                    let args = Attend {
                        q,
                        q_stride: shape.qkv_width(),
                        k,
                        v,
                        heads: shape.num_heads,
                        kv_heads: shape.num_kv_heads,
                        head_dim: shape.head_dim,
                        block_size,
                        query_offsets: &rows.query_offsets,
                        context_lens: &rows.context_lens,
                        block_tables: &rows.block_tables,
                        table_stride: rows.max_blocks,
                        window: shape.window,
                        scale: shape.scale(),
                        activations,
                        out_stride: shape.q_width(),
                    };
                    attention::attend(&args, out);
                    Ok(())
                })
            })
        })
    })
}
