//! Routing by softmax and sort; experts as a loop over rows and their choices.

use candle_core::{D, DType, IndexOp, Result, Tensor};

use super::super::{Backend, BlockScales, Buffer, Experts, Routes, Routing, storage};
use super::store;

/// The largest e4m3 number.
const E4M3_MAX: f64 = 448.0;

pub fn route(
    scores: &Buffer,
    routing: &Routing,
    rows: usize,
    routes: &Routes,
    load: &Buffer,
) -> Result<()> {
    let scores = scores.i(..rows)?;
    let peak = scores.max_keepdim(D::Minus1)?;
    let weights = scores.broadcast_sub(&peak)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    let (mut experts, mut chosen) = (Vec::new(), Vec::new());
    for row in weights.to_vec2::<f32>()? {
        let mut ranked: Vec<(u32, f32)> = (0..).zip(row).collect();
        // Stable: the lower index first among equals.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(routing.top_k);
        let sum: f32 = ranked.iter().map(|(_, weight)| weight).sum();
        let divisor = if routing.normalize { sum } else { 1.0 };
        experts.extend(ranked.iter().map(|(expert, _)| expert));
        chosen.extend(ranked.iter().map(|(_, weight)| weight / divisor));
    }
    storage::write(load, |load: &mut [u32]| {
        experts
            .iter()
            .for_each(|&expert| load[expert as usize] += 1);
        Ok(())
    })?;
    storage::write(&routes.experts, |out: &mut [u32]| {
        out[..experts.len()].copy_from_slice(&experts);
        Ok(())
    })?;
    storage::write(&routes.weights, |out: &mut [f32]| {
        out[..chosen.len()].copy_from_slice(&chosen);
        Ok(())
    })
}

/// With the linear layers of any `kernels`.
pub fn experts(
    kernels: &dyn Backend,
    x: &Buffer,
    experts: &Experts,
    routes: &Routes,
    rows: usize,
    out: &Buffer,
) -> Result<()> {
    let chosen = routes.experts.i(..rows)?.to_vec2::<u32>()?;
    let weights = routes.weights.i(..rows)?.to_vec2::<f32>()?;
    let mut sums = Vec::new();
    for (row, (chosen, weights)) in chosen.iter().zip(&weights).enumerate() {
        let x = x.i(row..row + 1)?;
        let mut sum = x.zeros_like()?;
        for (&expert, &weight) in chosen.iter().zip(weights) {
            let Some(local) = experts.local(expert) else {
                continue;
            };
            let expert = &experts.held[local];
            let gate_up = kernels.buffer(1, expert.gate_up.n)?;
            kernels.linear(&x, &expert.gate_up, 1, &gate_up)?;
            let activated = kernels.buffer(1, expert.down.k)?;
            kernels.silu_mul(&gate_up, 1, &activated)?;
            let y = kernels.buffer(1, expert.down.n)?;
            kernels.linear(&activated, &expert.down, 1, &y)?;
            sum = (sum + (&*y * f64::from(weight))?)?;
        }
        sums.push(sum);
    }
    store(&Tensor::cat(&sums, 0)?, out)
}

/// `x` as it is after rounding to e4m3, a scale for each row and block of columns.
pub fn quantized(x: &Tensor, scales: &BlockScales) -> Result<Tensor> {
    let (block, width) = (scales.block[1], x.dim(1)?);
    let mut parts = Vec::new();
    let mut start = 0;
    while start < width {
        let end = width
            .min((scales.column_offset + start) / block * block + block - scales.column_offset);
        let part = x.narrow(1, start, end - start)?;
        let scale = (part.abs()?.max_keepdim(D::Minus1)? / E4M3_MAX)?;
        // Zeros have no scale, and need none.
        let divisor = scale.eq(0.0)?.to_dtype(DType::F32)?.add(&scale)?;
        let rounded = part.broadcast_div(&divisor)?.to_dtype(DType::F8E4M3)?;
        parts.push(rounded.to_dtype(DType::F32)?.broadcast_mul(&scale)?);
        start = end;
    }
    Tensor::cat(&parts, 1)
}
