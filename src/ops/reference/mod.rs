//! The oracle: each operation in the plainest tensor code that says what it means.
//!
//! Weights are widened to f32 and kept row-major; attention gathers a sequence's cache into one
//! tensor and takes a whole softmax. Slow, and obviously right.

mod attention;
mod experts;

use std::ops::Range;

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};

use super::sampling::summary::Drawn;
use super::{
    Ask, AttentionShape, Backend, BlockScales, Buffer, ExpertSpace, Experts, HeadNorms, Kernels,
    KvLayer, Linear, Norm, Rope, Routes, Routing, Rows, Summary, WeightRows, storage, weight,
};

#[derive(Debug, Default)]
pub struct Reference;

impl Backend for Reference {
    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        Buffer::new(Tensor::zeros((rows, width), DType::F32, &Device::Cpu)?)
    }

    fn index_buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        Buffer::new(Tensor::zeros((rows, width), DType::U32, &Device::Cpu)?)
    }

    fn kv_layer(
        &self,
        num_blocks: usize,
        block_size: usize,
        shape: &AttentionShape,
        dtype: DType,
    ) -> Result<KvLayer> {
        let dims = (num_blocks, block_size, shape.num_kv_heads, shape.head_dim);
        Ok(KvLayer {
            k: Buffer::new(Tensor::zeros(dims, dtype, &Device::Cpu)?)?,
            v: Buffer::new(Tensor::zeros(dims, dtype, &Device::Cpu)?)?,
        })
    }

    /// An e4m3 weight is multiplied by its scales here; they stay for what they say of activations.
    fn pack(&self, parts: &[&dyn WeightRows], bias: Option<Tensor>) -> Result<Linear> {
        let rows = parts
            .iter()
            .map(|part| weight::read_widened(*part, 0..part.shape().0))
            .collect::<Result<Vec<_>>>()?;
        let weight = Tensor::cat(&rows, 0)?;
        let (n, k) = weight.dims2()?;
        let scales = BlockScales::stack(parts)?;
        Ok(Linear {
            n,
            k,
            weight,
            bias,
            scales,
        })
    }
}

impl Kernels for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn embed(&self, table: &Linear, first: u32, tokens: &[u32], out: &Buffer) -> Result<()> {
        let row = |&token: &u32| match token.checked_sub(first) {
            Some(row) if (row as usize) < table.n => table.weight.i(row as usize),
            _ => Tensor::zeros(table.k, DType::F32, &Device::Cpu),
        };
        let rows = tokens.iter().map(row).collect::<Result<Vec<_>>>()?;
        store(&Tensor::stack(&rows, 0)?, out)
    }

    fn rope(&self, rope: &Rope, positions: &[u32], out: &Buffer) -> Result<()> {
        let rows: Vec<f32> = positions
            .iter()
            .flat_map(|&position| {
                let angles = rope
                    .inverse_frequencies
                    .iter()
                    .map(move |f| f64::from(position) * f);
                let scale = rope.attention_factor;
                let cos = angles.clone().map(move |a| (a.cos() * scale) as f32);
                cos.chain(angles.map(move |a| (a.sin() * scale) as f32))
            })
            .collect();
        let width = 2 * rope.inverse_frequencies.len();
        store(
            &Tensor::from_vec(rows, (positions.len(), width), &Device::Cpu)?,
            out,
        )
    }

    fn add_norm(
        &self,
        x: &Buffer,
        delta: Option<&Buffer>,
        norm: &Norm,
        rows: usize,
        out: &Buffer,
    ) -> Result<()> {
        let mut sum = x.i(..rows)?;
        if let Some(delta) = delta {
            sum = (sum + delta.i(..rows)?)?;
            store(&sum, x)?;
        }
        store(&rms_norm(&sum, norm)?, out)
    }

    fn linear(&self, x: &Tensor, w: &Linear, rows: usize, out: &Buffer) -> Result<()> {
        let x = x.i(..rows)?;
        let x = match &w.scales {
            Some(scales) if scales.quantize_activations => experts::quantized(&x, scales)?,
            _ => x,
        };
        let y = x.matmul(&w.weight.t()?)?;
        let y = match &w.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        store(&y, out)
    }

    fn write_kv(
        &self,
        qkv: &Buffer,
        shape: &AttentionShape,
        norms: Option<&HeadNorms>,
        rotation: &Tensor,
        rows: &Rows,
        kv: &KvLayer,
    ) -> Result<()> {
        attention::write_kv(qkv, shape, norms, rotation, rows, kv)
    }

    fn attend(
        &self,
        qkv: &Tensor,
        shape: &AttentionShape,
        rows: &Rows,
        kv: &KvLayer,
        out: &Buffer,
    ) -> Result<()> {
        store(&attention::attend(qkv, shape, rows, kv)?, out)
    }

    fn silu_mul(&self, gate_up: &Tensor, rows: usize, out: &Buffer) -> Result<()> {
        let gate_up = gate_up.i(..rows)?;
        let width = gate_up.dim(1)? / 2;
        let gate = gate_up.narrow(1, 0, width)?;
        let up = gate_up.narrow(1, width, width)?;
        store(&(gate.silu()? * up)?, out)
    }

    fn route(
        &self,
        scores: &Buffer,
        routing: &Routing,
        rows: usize,
        routes: &Routes,
        load: &Buffer,
    ) -> Result<()> {
        experts::route(scores, routing, rows, routes, load)
    }

    fn experts(
        &self,
        x: &Buffer,
        experts: &Experts,
        routes: &Routes,
        rows: usize,
        _space: &ExpertSpace,
        out: &Buffer,
    ) -> Result<()> {
        experts::experts(self, x, experts, routes, rows, out)
    }

    fn gather(&self, x: &Tensor, indices: &[u32], out: &Buffer) -> Result<()> {
        let indices = Tensor::new(indices, &Device::Cpu)?;
        store(&x.index_select(&indices, 0)?, out)
    }

    fn summarize(
        &self,
        logits: &Tensor,
        vocab: &Range<usize>,
        asks: &[Ask],
        out: &mut Vec<Summary>,
    ) -> Result<()> {
        out.clear();
        for ask in asks {
            let row = logits.i((ask.row, ..vocab.len()))?.to_vec1::<f32>()?;
            let mut top: Vec<(f32, u32)> = row.iter().copied().zip(vocab.start as u32..).collect();
            top.sort_by(|a, b| b.0.total_cmp(&a.0));
            let peak = match row.iter().any(|v| v.is_nan()) {
                true => f32::NAN,
                false => top.first().map_or(f32::NEG_INFINITY, |&(logit, _)| logit),
            };
            let mass = |temperature: f32, wanted: bool| match wanted && peak.is_finite() {
                true => row
                    .iter()
                    .map(|v| f64::from(((v - peak) / temperature).exp()))
                    .sum(),
                false => 0.0,
            };
            let noise = ask.noise.filter(|_| peak.is_finite());
            let drawn = noise.and_then(|noise| {
                let each = row.iter().zip(vocab.start as u32..);
                let each = each.map(|(&logit, token)| Drawn {
                    token,
                    logit,
                    score: noise.score(token, logit),
                });
                each.reduce(|a, b| if b.score > a.score { b } else { a })
            });
            top.truncate(if peak.is_finite() { ask.count } else { 0 });
            out.push(Summary {
                peak,
                mass: mass(ask.temperature, ask.temperature > 0.0),
                mass_at_one: mass(1.0, ask.logprobs),
                top,
                drawn,
            });
        }
        Ok(())
    }

    fn greedy(
        &self,
        x: &Tensor,
        head: &Linear,
        vocab: &Range<usize>,
        rows: usize,
        _logits: &Buffer,
        out: &mut Vec<(u32, f32)>,
    ) -> Result<()> {
        let logits = self.buffer(rows, head.n)?;
        self.linear(x, head, rows, &logits)?;
        out.clear();
        for row in 0..rows {
            let row = logits.i((row, ..vocab.len()))?.to_vec1::<f32>()?;
            let mut best = (vocab.start as u32, f32::NEG_INFINITY);
            for (&logit, token) in row.iter().zip(vocab.start as u32..) {
                if logit > best.1 || logit.is_nan() {
                    best = (token, logit);
                }
                if logit.is_nan() {
                    break;
                }
            }
            out.push(best);
        }
        Ok(())
    }
}

/// Over the last dimension.
fn rms_norm(x: &Tensor, norm: &Norm) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    let scale = (mean + f64::from(norm.eps))?.sqrt()?.recip()?;
    x.broadcast_mul(&scale)?.broadcast_mul(&norm.weight)
}

/// Copies `value` over the first rows of `out`.
fn store(value: &Tensor, out: &Buffer) -> Result<()> {
    let values = value.flatten_all()?.to_vec1::<f32>()?;
    storage::write(out, |out: &mut [f32]| {
        out[..values.len()].copy_from_slice(&values);
        Ok(())
    })
}
