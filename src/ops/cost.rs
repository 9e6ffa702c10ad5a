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

/// The formulas where an activation takes so many bytes. Logits, scores and rotations are f32 everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activations(u64);

impl Activations {
    pub const F32: Self = Self(F32);

    pub fn of(dtype: DType) -> Self {
        Self(dtype.size_in_bytes() as u64)
    }

    /// A linear layer whose results are kept as f32 logits.
    pub fn head(self, w: &Linear, rows: usize) -> Cost {
        let Cost { bytes, flops } = self.linear(w, rows);
        let logits = rows as u64 * w.n as u64;
        Cost {
            bytes: bytes + logits * F32 - logits * self.0,
            flops,
        }
    }

    pub fn linear(self, w: &Linear, rows: usize) -> Cost {
        let (rows, n, k) = (rows as u64, w.n as u64, w.k as u64);
        Cost {
            bytes: w.bytes() + rows * (n + k) * self.0,
            flops: FMA * rows * n * k,
        }
    }

    /// A head whose logits are not kept: activations come, one token a row goes.
    pub fn greedy(self, head: &Linear, rows: usize) -> Cost {
        let Cost { bytes, flops } = self.head(head, rows);
        Cost {
            bytes: bytes - rows as u64 * (head.n as u64 - 1) * F32,
            flops,
        }
    }

    pub fn embed(self, table: &Linear, rows: usize) -> Cost {
        let elements = (rows * table.k) as u64;
        Cost {
            bytes: elements * (table.weight.dtype().size_in_bytes() as u64 + self.0),
            flops: 0,
        }
    }

    /// `streams`: how many row-sized buffers are read or written.
    pub fn norm(self, rows: usize, width: usize, streams: u64) -> Cost {
        let elements = (rows * width) as u64;
        Cost {
            bytes: streams * elements * self.0,
            flops: NORM_FLOPS * elements,
        }
    }

    pub fn write_kv(self, shape: &AttentionShape, rows: usize, kv: DType) -> Cost {
        let kv_elements = (2 * rows * shape.num_kv_heads * shape.head_dim) as u64;
        let qkv_elements = (rows * shape.qkv_width()) as u64;
        Cost {
            bytes: (qkv_elements + (rows * shape.q_width()) as u64) * self.0
                + kv_elements * kv.size_in_bytes() as u64,
            flops: 3 * qkv_elements,
        }
    }

    pub fn attend(self, shape: &AttentionShape, rows: &Rows, kv: DType) -> Cost {
        let kv_row = (2 * shape.num_kv_heads * shape.head_dim * kv.size_in_bytes()) as u64;
        let q_elements = (rows.len() * shape.q_width()) as u64;
        Cost {
            bytes: rows.attended_tokens(shape.window) * kv_row + 2 * q_elements * self.0,
            // q·k and p·v, for every head.
            flops: 2 * FMA * rows.attended_pairs(shape.window) * shape.q_width() as u64,
        }
    }

    pub fn silu_mul(self, rows: usize, width: usize) -> Cost {
        let elements = (rows * width) as u64;
        Cost {
            bytes: 3 * elements * self.0,
            flops: SILU_FLOPS * elements,
        }
    }

    /// Copies of whole rows, such as picking the rows that need logits.
    pub fn copy(self, rows: usize, width: usize) -> Cost {
        Cost {
            bytes: 2 * (rows * width) as u64 * self.0,
            flops: 0,
        }
    }

    /// A sum over ranks that each add up an equal part of it: all ranks' rows are read and written once,
    /// shared among them.
    pub fn all_reduce(self, rows: usize, width: usize, ranks: usize) -> Cost {
        let elements = (rows * width) as u64;
        Cost {
            bytes: 2 * elements * self.0,
            flops: elements * (ranks as u64 - 1) / ranks as u64,
        }
    }

    /// Of the experts that `routes` chose and that are held here: each one's weights once, and of each choice
    /// the row in, the row inside and the row out.
    ///
    /// # Errors
    /// The routes do not lie on the CPU.
    pub fn experts(self, experts: &Experts, routes: &Routes, rows: usize) -> Result<Cost> {
        let top_k = routes.experts.dim(1)?;
        let mut cost = Cost::default();
        storage::read(&routes.experts, |chosen: &[u32]| {
            let chosen = &chosen[..rows * top_k];
            for (expert, index) in experts.held.iter().zip(experts.first as u32..) {
                let count = chosen.iter().filter(|&&chosen| chosen == index).count();
                if count > 0 {
                    let Expert { gate_up, down } = expert;
                    cost += self.linear(gate_up, count);
                    cost += self.silu_mul(count, down.k);
                    cost += self.linear(down, count);
                }
            }
            Ok(())
        })?;
        Ok(cost)
    }

    /// [`Self::experts`] but for the weights, where nobody waits for the device's routes: as many choices fall on the
    /// experts held here as there are of all. What was read of weights is known after the step.
    pub fn expert_rows(self, experts: &Experts, routing: &Routing, rows: usize) -> Cost {
        let Some(Expert { gate_up, down }) = experts.held.first() else {
            return Cost::default();
        };
        let chosen = rows * routing.top_k * experts.held.len() / routing.num_experts.max(1);
        let mut cost = self.linear(gate_up, chosen);
        cost += self.silu_mul(chosen, down.k);
        cost += self.linear(down, chosen);
        cost.bytes -= gate_up.bytes() + down.bytes();
        cost
    }
}

/// Every rank's words, come to one of them.
pub fn all_gather(words: usize, ranks: usize) -> Cost {
    Cost {
        bytes: (words * ranks * size_of::<u32>()) as u64,
        flops: 0,
    }
}

/// The highest of all ranks' keys for each row: they are read and written once.
pub fn agree(rows: usize) -> Cost {
    Cost {
        bytes: 2 * (rows * size_of::<u64>()) as u64,
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
