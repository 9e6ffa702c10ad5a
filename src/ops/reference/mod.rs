//! The oracle: each operation in the plainest tensor code that says what it means.
//!
//! Weights are widened to f32 and kept row-major; attention gathers a sequence's cache into one
//! tensor and takes a whole softmax. Slow, and obviously right.

mod attention;

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};

use super::sampling::{self, Pick, Sampled};
use super::{
    AttentionShape, Buffer, HeadNorms, Kernels, KvLayer, Linear, Norm, Rope, Rows, WeightRows,
    storage,
};

#[derive(Debug, Default)]
pub struct Reference;

impl Kernels for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        Buffer::new(Tensor::zeros((rows, width), DType::F32, &Device::Cpu)?)
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

    fn pack(&self, parts: &[&dyn WeightRows], bias: Option<Tensor>) -> Result<Linear> {
        let rows = parts
            .iter()
            .map(|part| part.read(0..part.shape().0)?.to_dtype(DType::F32))
            .collect::<Result<Vec<_>>>()?;
        let weight = Tensor::cat(&rows, 0)?;
        let (n, k) = weight.dims2()?;
        Ok(Linear { n, k, weight, bias })
    }

    fn embed(&self, table: &Linear, tokens: &[u32], out: &Buffer) -> Result<()> {
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        store(&table.weight.index_select(&ids, 0)?, out)
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
        let y = x.i(..rows)?.matmul(&w.weight.t()?)?;
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

    fn gather(&self, x: &Tensor, indices: &[u32], out: &Buffer) -> Result<()> {
        let indices = Tensor::new(indices, &Device::Cpu)?;
        store(&x.index_select(&indices, 0)?, out)
    }

    fn sample(&self, logits: &Tensor, picks: &[Pick], out: &mut Vec<Sampled>) -> Result<()> {
        out.clear();
        for (i, pick) in picks.iter().enumerate() {
            let row = logits.i(i)?.to_vec1::<f32>()?;
            out.push(sampling::sample(&row, pick, &mut Vec::new())?);
        }
        Ok(())
    }

    fn greedy(&self, x: &Tensor, head: &Linear, rows: usize, out: &mut Vec<Sampled>) -> Result<()> {
        let logits = self.buffer(rows, head.n)?;
        self.linear(x, head, rows, &logits)?;
        self.sample(&logits, &vec![Pick::GREEDY; rows], out)
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
