//! Paged attention the long way: gather, scores, mask, softmax, weighted sum.

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};

use super::super::{AttentionShape, Buffer, HeadNorms, KvLayer, Rows, storage};
use super::{rms_norm, store};

pub(super) fn write_kv(
    qkv: &Buffer,
    shape: &AttentionShape,
    norms: Option<&HeadNorms>,
    rotation: &Tensor,
    rows: &Rows,
    kv: &KvLayer,
) -> Result<()> {
    let (count, d) = (rows.len(), shape.head_dim);
    let all = qkv.i(..count)?;
    let heads = |start: usize, heads: usize| {
        all.narrow(1, start * d, heads * d)?
            .reshape((count, heads, d))
    };
    let mut q = heads(0, shape.num_heads)?;
    let mut k = heads(shape.num_heads, shape.num_kv_heads)?;
    let v = heads(shape.num_heads + shape.num_kv_heads, shape.num_kv_heads)?;
    if let Some(norms) = norms {
        q = rms_norm(&q, &norms.q)?;
        k = rms_norm(&k, &norms.k)?;
    }
    let rotation = rotation.i(..count)?;
    let q = rotate(&q, &rotation)?;
    let k = rotate(&k, &rotation)?;
    let flat = |t: &Tensor| t.reshape((count, ()));
    store(&Tensor::cat(&[flat(&q)?, flat(&k)?, flat(&v)?], 1)?, qkv)?;
    scatter(&k, &kv.k, &rows.slots)?;
    scatter(&v, &kv.v, &rows.slots)
}

/// Pairs are (i, i + d/2), as Hugging Face checkpoints have them. `x` is `[rows, heads, d]`.
fn rotate(x: &Tensor, rotation: &Tensor) -> Result<Tensor> {
    let half = x.dim(2)? / 2;
    let cos = rotation.narrow(1, 0, half)?.unsqueeze(1)?;
    let sin = rotation.narrow(1, half, half)?.unsqueeze(1)?;
    let a = x.narrow(2, 0, half)?;
    let b = x.narrow(2, half, half)?;
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 2)
}

fn scatter(rows: &Tensor, cache: &Buffer, slots: &[u32]) -> Result<()> {
    match cache.dtype() {
        DType::F32 => scatter_as::<f32>(rows, cache, slots),
        DType::F16 => scatter_as::<half::f16>(rows, cache, slots),
        DType::F8E4M3 => scatter_as::<float8::F8E4M3>(rows, cache, slots),
        _ => scatter_as::<half::bf16>(rows, cache, slots),
    }
}

fn scatter_as<T: storage::Element>(rows: &Tensor, cache: &Buffer, slots: &[u32]) -> Result<()> {
    let values = rows.to_dtype(T::DTYPE)?.flatten_all()?.to_vec1::<T>()?;
    let width = values.len() / slots.len().max(1);
    storage::write(cache, |cache: &mut [T]| {
        for (row, &slot) in values.chunks_exact(width.max(1)).zip(slots) {
            let at = slot as usize * width;
            cache[at..at + width].copy_from_slice(row);
        }
        Ok(())
    })
}

pub(super) fn attend(
    qkv: &Tensor,
    shape: &AttentionShape,
    rows: &Rows,
    kv: &KvLayer,
) -> Result<Tensor> {
    let outputs = (0..rows.sequences())
        .map(|s| one_sequence(qkv, shape, rows, kv, s))
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&outputs, 0)
}

/// `[query rows, heads * d]`.
fn one_sequence(
    qkv: &Tensor,
    shape: &AttentionShape,
    rows: &Rows,
    kv: &KvLayer,
    s: usize,
) -> Result<Tensor> {
    let d = shape.head_dim;
    let group = shape.num_heads / shape.num_kv_heads;
    let context = rows.context_lens[s] as usize;
    let query = rows.query(s);
    let count = query.len();
    let q = qkv
        .i(query.clone())?
        .narrow(1, 0, shape.q_width())?
        .reshape((count, shape.num_heads, d))?
        .transpose(0, 1)?
        .contiguous()?;
    let k = gather(&kv.k, rows.block_table(s), context, group)?;
    let v = gather(&kv.v, rows.block_table(s), context, group)?;
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * f64::from(shape.scale()))?;
    let mask = mask(context, count, shape.window)?;
    let scores = scores.broadcast_add(&mask)?;
    let peak = scores.max_keepdim(D::Minus1)?;
    let weights = scores.broadcast_sub(&peak)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    weights
        .matmul(&v)?
        .transpose(0, 1)?
        .reshape((count, shape.q_width()))
}

/// The first `context` cached tokens, each kv head repeated for its group: `[heads, context, d]`.
fn gather(cache: &Tensor, table: &[u32], context: usize, group: usize) -> Result<Tensor> {
    let (_, block_size, kv_heads, d) = cache.dims4()?;
    let used = context.div_ceil(block_size);
    let blocks = Tensor::new(&table[..used], &Device::Cpu)?;
    cache
        .index_select(&blocks, 0)?
        .to_dtype(DType::F32)?
        .reshape((used * block_size, kv_heads, d))?
        .narrow(0, 0, context)?
        .transpose(0, 1)?
        .unsqueeze(1)?
        .expand((kv_heads, group, context, d))?
        .reshape((kv_heads * group, context, d))
}

/// 0 where a query sees a key, minus infinity elsewhere: `[count, context]`.
fn mask(context: usize, count: usize, window: Option<usize>) -> Result<Tensor> {
    let values: Vec<f32> = (context - count..context)
        .flat_map(|position| {
            (0..context).map(move |key| {
                let recent = window.is_none_or(|w| key + w > position);
                if key <= position && recent {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            })
        })
        .collect();
    Tensor::from_vec(values, (count, context), &Device::Cpu)
}
