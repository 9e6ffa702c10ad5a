//! A sparse layer: the experts of a mixture, and which of them each row chose.

use super::{Buffer, Linear};

/// One expert's share on this rank: the whole of it, or some of its inner features.
#[derive(Debug, Clone)]
pub struct Expert {
    /// gate and up stacked: `[2 * width, hidden]`.
    pub gate_up: Linear,
    /// `[hidden, width]`.
    pub down: Linear,
}

/// The experts of one layer that this rank holds, all of one shape.
#[derive(Debug, Clone)]
pub struct Experts {
    /// The model's index of the first one.
    pub first: usize,
    pub held: Vec<Expert>,
}

impl Expert {
    /// Bytes held by its weights.
    pub fn bytes(&self) -> u64 {
        self.gate_up.bytes() + self.down.bytes()
    }
}

impl Experts {
    /// Bytes held by all weights.
    pub fn bytes(&self) -> u64 {
        self.held.iter().map(Expert::bytes).sum()
    }

    /// Where the model's expert `index` is held, if it is.
    pub fn local(&self, index: u32) -> Option<usize> {
        let local = (index as usize).checked_sub(self.first)?;
        (local < self.held.len()).then_some(local)
    }
}

/// How a layer chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    pub num_experts: usize,
    /// Experts of each row, at most `num_experts`.
    pub top_k: usize,
    /// `norm_topk_prob`: whether the weights of a row's choices add up to 1.
    pub normalize: bool,
}

/// What the router chose, in descending weight, the lower index first among equals.
#[derive(Debug, Clone)]
pub struct Routes {
    /// u32 `[rows, top_k]`, the model's indices.
    pub experts: Buffer,
    /// f32 `[rows, top_k]`.
    pub weights: Buffer,
}

/// Room of one sparse layer's step, of the activations' type: a row for each choice, `rows * top_k`.
#[derive(Debug, Clone)]
pub struct ExpertSpace {
    /// `[chosen, 2 * width]`.
    pub gate_up: Buffer,
    /// `[chosen, width]`.
    pub activated: Buffer,
    /// `[chosen, hidden]`.
    pub out: Buffer,
}
