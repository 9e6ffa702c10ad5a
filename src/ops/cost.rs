//! Bytes and FLOPs of each operation, by formula: weights and cache once, activations once each way.

use candle_core::{DType, Result};

use super::{AttentionShape, Expert, Experts, Linear, Routes, Routing, Rows, storage};
use crate::ground::recorder::Cost;

const F32: u64 = 4;
/// Two FLOPs a multiply-add.
const FMA: u64 = 2;
/// Square, sum, scale, weight: per element of a normalised row.
const NORM_FLOPS: u64 = 4;
/// exp, add, divide, compare: per score of a softmax that is chosen from.
const SOFTMAX_FLOPS: u64 = 4;
/// exp, add, divide, multiply: per element of silu(gate) * up.
const SILU_FLOPS: u64 = 5;

pub fn linear(w: &Linear, rows: usize) -> Cost {
    let (rows, n, k) = (rows as u64, w.n as u64, w.k as u64);
    Cost {
        bytes: w.bytes() + rows * (n + k) * F32,
        flops: FMA * rows * n * k,
    }
}

/// A head whose logits are not kept: activations come, one token a row goes.
pub fn greedy(head: &Linear, rows: usize) -> Cost {
    let Cost { bytes, flops } = linear(head, rows);
    Cost {
        bytes: bytes - rows as u64 * (head.n as u64 - 1) * F32,
        flops,
    }
}

pub fn embed(table: &Linear, rows: usize) -> Cost {
    let elements = (rows * table.k) as u64;
    Cost {
        bytes: elements * (table.weight.dtype().size_in_bytes() as u64 + F32),
        flops: 0,
    }
}

/// `streams`: how many row-sized buffers are read or written.
pub fn norm(rows: usize, width: usize, streams: u64) -> Cost {
    let elements = (rows * width) as u64;
    Cost {
        bytes: streams * elements * F32,
        flops: NORM_FLOPS * elements,
    }
}

pub fn write_kv(shape: &AttentionShape, rows: usize, kv: DType) -> Cost {
    let kv_elements = (2 * rows * shape.num_kv_heads * shape.head_dim) as u64;
    let qkv_elements = (rows * shape.qkv_width()) as u64;
    Cost {
        bytes: (qkv_elements + (rows * shape.q_width()) as u64) * F32
            + kv_elements * kv.size_in_bytes() as u64,
        flops: 3 * qkv_elements,
    }
}

pub fn attend(shape: &AttentionShape, rows: &Rows, kv: DType) -> Cost {
    let kv_row = (2 * shape.num_kv_heads * shape.head_dim * kv.size_in_bytes()) as u64;
    let q_elements = (rows.len() * shape.q_width()) as u64;
    Cost {
        bytes: rows.attended_tokens(shape.window) * kv_row + 2 * q_elements * F32,
        // q·k and p·v, for every head.
        flops: 2 * FMA * rows.attended_pairs(shape.window) * shape.q_width() as u64,
    }
}

pub fn silu_mul(rows: usize, width: usize) -> Cost {
    let elements = (rows * width) as u64;
    Cost {
        bytes: 3 * elements * F32,
        flops: SILU_FLOPS * elements,
    }
}

/// Copies of whole f32 rows, such as picking the rows that need logits.
pub fn copy(rows: usize, width: usize) -> Cost {
    Cost {
        bytes: 2 * (rows * width) as u64 * F32,
        flops: 0,
    }
}

/// A sum over ranks that each add up an equal part of it: all ranks' rows are read and written once,
/// shared among them.
pub fn all_reduce(rows: usize, width: usize, ranks: usize) -> Cost {
    let elements = (rows * width) as u64;
    Cost {
        bytes: 2 * elements * F32,
        flops: elements * (ranks as u64 - 1) / ranks as u64,
    }
}

/// Every rank's words, come to one of them.
pub fn all_gather(words: usize, ranks: usize) -> Cost {
    Cost {
        bytes: (words * ranks * size_of::<u32>()) as u64,
        flops: 0,
    }
}

/// One read of the logits.
pub fn sample(rows: usize, vocab: usize) -> Cost {
    Cost {
        bytes: (rows * vocab) as u64 * F32,
        flops: 0,
    }
}

/// Scores come; a softmax over them; choices and weights go.
pub fn route(routing: &Routing, rows: usize) -> Cost {
    let (scores, chosen) = (rows * routing.num_experts, rows * routing.top_k);
    Cost {
        bytes: (scores + 2 * chosen) as u64 * F32,
        flops: SOFTMAX_FLOPS * scores as u64,
    }
}

/// Of the experts that `routes` chose and that are held here: each one's weights once, and of each choice
/// the row in, the row inside and the row out.
///
/// # Errors
/// The routes do not lie on the CPU.
pub fn experts(experts: &Experts, routes: &Routes, rows: usize) -> Result<Cost> {
    let top_k = routes.experts.dim(1)?;
    let mut cost = Cost::default();
    storage::read(&routes.experts, |chosen: &[u32]| {
        let chosen = &chosen[..rows * top_k];
        for (expert, index) in experts.held.iter().zip(experts.first as u32..) {
            let count = chosen.iter().filter(|&&chosen| chosen == index).count();
            if count > 0 {
                let Expert { gate_up, down } = expert;
                cost += linear(gate_up, count);
                cost += silu_mul(count, down.k);
                cost += linear(down, count);
            }
        }
        Ok(())
    })?;
    Ok(cost)
}
