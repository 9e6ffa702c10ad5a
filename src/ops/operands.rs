//! What operations take beside activations: norms, heads, rotations, caches.

use candle_core::Tensor;

use super::buffer::Buffer;
use super::bytes::bytes_of;

/// Root-mean-square normalisation: `x / sqrt(mean(x²) + eps) * weight`.
#[derive(Debug, Clone)]
pub struct Norm {
    /// `[width]`, f32.
    pub weight: Tensor,
    pub eps: f32,
}

impl Norm {
    pub fn bytes(&self) -> u64 {
        bytes_of(&self.weight)
    }
}

/// The heads of one attention layer on this rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    /// A token sees itself and the `window - 1` before it; `None`: all before it.
    pub window: Option<usize>,
}

impl AttentionShape {
    /// Width of the fused q, k, v row.
    pub fn qkv_width(&self) -> usize {
        (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
    }

    pub fn q_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Softmax scale.
    pub fn scale(&self) -> f32 {
        (self.head_dim as f32).sqrt().recip()
    }
}

/// Inverse frequencies and the factor on cos and sin, of one model.
#[derive(Debug, Clone)]
pub struct Rope {
    /// `head_dim / 2` values, radians per position.
    pub inverse_frequencies: Vec<f64>,
    pub attention_factor: f64,
}

/// Norms over each head of q and k before rotation (Qwen3).
#[derive(Debug, Clone)]
pub struct HeadNorms {
    pub q: Norm,
    pub k: Norm,
}

/// The paged cache of one layer: `[num_blocks, block_size, num_kv_heads, head_dim]` each.
#[derive(Debug, Clone)]
pub struct KvLayer {
    pub k: Buffer,
    pub v: Buffer,
}
