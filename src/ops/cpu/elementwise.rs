//! Norms, rotations and the gated activation: one pass over each row.

use super::super::Rope;
use super::super::row::rms_norm;
use super::activation;
use super::shared::SharedOut;
use super::workers;

/// Elements below which waking other threads costs more than it saves.
const MIN_PARALLEL: usize = 1 << 15;

/// `[cos.., sin..]` of each position, `2 * inverse_frequencies.len()` wide.
pub fn rotations(rope: &Rope, positions: &[u32], out: &mut [f32]) {
    let half = rope.inverse_frequencies.len();
    for (row, &position) in out.chunks_exact_mut(2 * half).zip(positions) {
        let (cos, sin) = row.split_at_mut(half);
        for (i, frequency) in rope.inverse_frequencies.iter().enumerate() {
            let (s, c) = (f64::from(position) * frequency).sin_cos();
            cos[i] = (c * rope.attention_factor) as f32;
            sin[i] = (s * rope.attention_factor) as f32;
        }
    }
}

/// `out = norm(x)`, row by row of `weight.len()`; as many rows as `out` has.
pub fn norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    for_rows(out, weight.len(), |row, out| {
        let x = &x[row * weight.len()..][..weight.len()];
        rms_norm(x, weight, eps, out);
    });
}

/// `x += delta`, then `out = norm(x)`.
pub fn add_norm(x: &mut [f32], delta: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    let x = SharedOut::new(x);
    for_rows(out, width, |row, out| {
        // SAFETY: each row is handed out once, and `x` is borrowed for as long.
        let x = unsafe { x.slice(row * width, width) };
        for (x, d) in x.iter_mut().zip(&delta[row * width..]) {
            *x += d;
        }
        rms_norm(x, weight, eps, out);
    });
}

/// Rotates one head in place: pairs are `(i, i + d/2)`. `rotation` is `[cos.., sin..]`.
pub fn rotate(x: &mut [f32], rotation: &[f32]) {
    let half = x.len() / 2;
    let (a, b) = x.split_at_mut(half);
    let (cos, sin) = rotation.split_at(half);
    for i in 0..half {
        let (p, q) = (a[i], b[i]);
        a[i] = p * cos[i] - q * sin[i];
        b[i] = q * cos[i] + p * sin[i];
    }
}

/// `out = silu(gate) * up` from rows `[gate.., up..]` of `2 * width`.
pub fn silu_mul(gate_up: &[f32], width: usize, out: &mut [f32]) {
    for_rows(out, width, |row, out| {
        let (gate, up) = gate_up[row * 2 * width..][..2 * width].split_at(width);
        activation::silu_mul(gate, up, out);
    });
}

/// Calls `f(row, out row)` for each row, in parallel where there is enough work.
pub fn for_rows(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    if out.len() < MIN_PARALLEL {
        let rows = out.chunks_exact_mut(width).enumerate();
        rows.for_each(|(row, out)| f(row, out));
    } else {
        workers::each_chunk(out, width, f);
    }
}
