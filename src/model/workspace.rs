//! Activation buffers of one rank, for the largest step; a step uses their first rows.

use candle_core::Result;

use super::load::{Share, attention_shape};
use crate::ops::{Buffer, ExpertSpace, Kernels, Routes};

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
    /// Of the rows that need logits, after the last layer's attention.
    pub last_x: Buffer,
    pub last_attention: Buffer,
    pub logits: Buffer,
    /// `None`: no layer is dense.
    pub dense: Option<DenseWorkspace>,
    /// `None`: no layer is sparse.
    pub experts: Option<ExpertWorkspace>,
}

/// Inside the MLP of dense layers.
pub(super) struct DenseWorkspace {
    pub gate_up: Buffer,
    pub activated: Buffer,
}

/// Inside sparse layers.
pub(super) struct ExpertWorkspace {
    pub scores: Buffer,
    pub routes: Routes,
    pub space: ExpertSpace,
}

/// Rows and width of a buffer.
type Shape = (usize, usize);

/// Of each buffer that every model has, in the order of [`Workspace`].
fn shapes(share: Share, limits: StepLimits) -> [Shape; 9] {
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
        (logit_rows, h),
        (logit_rows, heads.q_width()),
        (logit_rows, sizes.vocab_rows),
    ]
}

fn dense_shapes(share: Share, limits: StepLimits) -> Option<[Shape; 2]> {
    let width = share.shape().intermediate_size;
    let shapes = [(limits.rows, 2 * width), (limits.rows, width)];
    share.spec().has_dense_layers().then_some(shapes)
}

/// What a sparse layer needs: the scores of all experts, indices and weights of those chosen, and a row of
/// each step in and behind each of these. With whole experts a rank may be chosen by every row.
fn expert_shapes(share: Share, limits: StepLimits) -> Option<[Shape; 6]> {
    let spec = share.spec();
    let experts = spec.experts.as_ref()?;
    let (rows, top_k) = (limits.rows, experts.num_experts_per_tok);
    let chosen = rows.saturating_mul(top_k);
    let width = share.shape().moe_intermediate_size;
    Some([
        (rows, experts.num_experts),
        (rows, top_k),
        (rows, top_k),
        (chosen, 2 * width),
        (chosen, width),
        (chosen, spec.hidden_size),
    ])
}

/// Bytes of the workspace that a rank will allocate where an activation takes `element_bytes`; the
/// largest number there is instead of more. Logits are f32 everywhere.
pub fn workspace_bytes(share: Share, limits: StepLimits, element_bytes: usize) -> u64 {
    let bytes =
        |(rows, width): Shape, each: usize| (rows as u64).saturating_mul((width * each) as u64);
    let [activations @ .., logits] = shapes(share, limits);
    let dense = dense_shapes(share, limits).into_iter().flatten();
    let experts = expert_shapes(share, limits).into_iter().flatten();
    let activations = activations.into_iter().chain(dense).chain(experts);
    activations
        .map(|shape| bytes(shape, element_bytes))
        .fold(bytes(logits, size_of::<f32>()), u64::saturating_add)
}

impl Workspace {
    pub fn new(share: Share, kernels: &dyn Kernels, limits: StepLimits) -> Result<Self> {
        let buffer = |(rows, width): Shape| kernels.buffer(rows, width);
        let wide = |(rows, width): Shape| kernels.wide_buffer(rows, width);
        let [
            x,
            delta,
            normed,
            rotation,
            qkv,
            attention,
            last_x,
            last_attention,
            logits,
        ] = shapes(share, limits);
        let dense = dense_shapes(share, limits).map(|shapes| DenseWorkspace::new(kernels, shapes));
        let experts =
            expert_shapes(share, limits).map(|shapes| ExpertWorkspace::new(kernels, shapes));
        Ok(Self {
            x: buffer(x)?,
            delta: buffer(delta)?,
            normed: buffer(normed)?,
            rotation: wide(rotation)?,
            qkv: buffer(qkv)?,
            attention: buffer(attention)?,
            last_x: buffer(last_x)?,
            last_attention: buffer(last_attention)?,
            logits: wide(logits)?,
            dense: dense.transpose()?,
            experts: experts.transpose()?,
        })
    }
}

impl DenseWorkspace {
    fn new(kernels: &dyn Kernels, [gate_up, activated]: [Shape; 2]) -> Result<Self> {
        Ok(Self {
            gate_up: kernels.buffer(gate_up.0, gate_up.1)?,
            activated: kernels.buffer(activated.0, activated.1)?,
        })
    }
}

impl ExpertWorkspace {
    fn new(kernels: &dyn Kernels, shapes: [Shape; 6]) -> Result<Self> {
        let [scores, experts, weights, gate_up, activated, out] = shapes;
        let buffer = |(rows, width): Shape| kernels.buffer(rows, width);
        let wide = |(rows, width): Shape| kernels.wide_buffer(rows, width);
        Ok(Self {
            scores: wide(scores)?,
            routes: Routes {
                experts: kernels.index_buffer(experts.0, experts.1)?,
                weights: wide(weights)?,
            },
            space: ExpertSpace {
                gate_up: buffer(gate_up)?,
                activated: buffer(activated)?,
                out: buffer(out)?,
            },
        })
    }
}
