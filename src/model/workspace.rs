//! Activation buffers of one rank, for the largest step; a step uses their first rows.

use candle_core::Result;

use super::load::{Share, attention_shape};
use crate::ops::{Buffer, Kernels};

/// Largest step that a decoder must hold.
#[derive(Debug, Clone, Copy)]
pub struct StepLimits {
    /// Rows of one step: `max_num_batched_tokens`.
    pub rows: usize,
    /// Rows of one step that need logits: at most `max_num_seqs`.
    pub logit_rows: usize,
}

pub(super) struct Workspace {
    /// The residual stream, and what the last block adds to it.
    pub x: Buffer,
    pub delta: Buffer,
    pub normed: Buffer,
    pub rotation: Buffer,
    pub qkv: Buffer,
    pub attention: Buffer,
    pub gate_up: Buffer,
    pub activated: Buffer,
    /// Of the rows that need logits, after the last layer's attention.
    pub last_x: Buffer,
    pub last_attention: Buffer,
    pub logits: Buffer,
}

/// Rows and width of each buffer, in the order of [`Workspace`].
fn shapes(share: Share, limits: StepLimits) -> [(usize, usize); 11] {
    let StepLimits { rows, logit_rows } = limits;
    let (spec, sizes) = (share.spec(), share.shape());
    let h = spec.hidden_size;
    let heads = attention_shape(spec, &sizes, 0);
    [
        (rows, h),
        (rows, h),
        (rows, h),
        (rows, spec.head_dim),
        (rows, heads.qkv_width()),
        (rows, heads.q_width()),
        (rows, 2 * sizes.intermediate_size),
        (rows, sizes.intermediate_size),
        (logit_rows, h),
        (logit_rows, heads.q_width()),
        (logit_rows, sizes.vocab_rows),
    ]
}

/// Rows and width of what a sparse layer needs beside them: the scores of all experts, and a row of
/// each step in and behind each expert it chose. With whole experts a rank may be chosen by every row.
fn expert_shapes(share: Share, limits: StepLimits) -> Option<[(usize, usize); 4]> {
    let spec = share.spec();
    let experts = spec.experts.as_ref()?;
    let chosen = limits.rows.saturating_mul(experts.num_experts_per_tok);
    let width = share.shape().moe_intermediate_size;
    Some([
        (limits.rows, experts.num_experts),
        (chosen, 2 * width),
        (chosen, width),
        (chosen, spec.hidden_size),
    ])
}

/// Bytes of the workspace that a rank will allocate where an activation takes `element_bytes`; the
/// largest number there is instead of more. Logits are f32 everywhere.
pub fn workspace_bytes(share: Share, limits: StepLimits, element_bytes: usize) -> u64 {
    let bytes = |(rows, width): (usize, usize), each: usize| {
        (rows as u64).saturating_mul((width * each) as u64)
    };
    let [activations @ .., logits] = shapes(share, limits);
    let experts = expert_shapes(share, limits).into_iter().flatten();
    let activations = activations.into_iter().chain(experts);
    activations
        .map(|shape| bytes(shape, element_bytes))
        .fold(bytes(logits, size_of::<f32>()), u64::saturating_add)
}

impl Workspace {
    pub fn new(share: Share, kernels: &dyn Kernels, limits: StepLimits) -> Result<Self> {
        let shapes = shapes(share, limits);
        let buffers = shapes.map(|(rows, width)| kernels.buffer(rows, width));
        let [
            x,
            delta,
            normed,
            rotation,
            qkv,
            attention,
            gate_up,
            activated,
            last_x,
            last_attention,
            logits,
        ] = buffers;
        Ok(Self {
            x: x?,
            delta: delta?,
            normed: normed?,
            rotation: rotation?,
            qkv: qkv?,
            attention: attention?,
            gate_up: gate_up?,
            activated: activated?,
            last_x: last_x?,
            last_attention: last_attention?,
            logits: logits?,
        })
    }
}
