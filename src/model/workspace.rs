//! Activation buffers of one rank, for the largest step; a step uses their first rows.

use candle_core::Result;

use crate::ops::{AttentionShape, Backend, Buffer, ExpertSpace, Routes};
use crate::parallel::{RankShape, ShardPlan};
use crate::shape::ModelShape;

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

/// Of one rank's part of a layer's attention.
pub(super) fn attention_shape(
    shape: &ModelShape,
    rank: &RankShape,
    layer: usize,
) -> AttentionShape {
    AttentionShape {
        num_heads: rank.num_heads,
        num_kv_heads: rank.num_kv_heads,
        head_dim: shape.head_dim,
        window: shape.layers[layer].kv.window(),
    }
}

/// Rows and width of a buffer.
type Shape = (usize, usize);

/// Of each buffer that every model has, in the order of [`Workspace`].
fn shapes(plan: &ShardPlan, rank: usize, limits: StepLimits) -> [Shape; 9] {
    let StepLimits { rows, logit_rows } = limits;
    let (shape, sizes) = (plan.shape(), plan.rank_shape(rank));
    let h = shape.hidden_size;
    let heads = attention_shape(shape, &sizes, 0);
    [
        (rows, h),
        (rows, h),
        (rows, h),
        (rows, shape.head_dim),
        (rows, heads.qkv_width()),
        (rows, heads.q_width()),
        (logit_rows, h),
        (logit_rows, heads.q_width()),
        (logit_rows, sizes.vocab_rows),
    ]
}

fn dense_shapes(plan: &ShardPlan, rank: usize, limits: StepLimits) -> Option<[Shape; 2]> {
    plan.shape().dense_width()?;
    let width = plan.rank_shape(rank).intermediate_size;
    Some([(limits.rows, 2 * width), (limits.rows, width)])
}

/// What a sparse layer needs: the scores of all experts, indices and weights of those chosen, and a row of
/// each step in and behind each of these. With whole experts a rank may be chosen by every row.
fn expert_shapes(plan: &ShardPlan, rank: usize, limits: StepLimits) -> Option<[Shape; 6]> {
    let experts = plan.shape().experts()?;
    let (rows, top_k) = (limits.rows, experts.per_token);
    let chosen = rows.saturating_mul(top_k);
    let width = plan.rank_shape(rank).moe_intermediate_size;
    Some([
        (rows, experts.count),
        (rows, top_k),
        (rows, top_k),
        (chosen, 2 * width),
        (chosen, width),
        (chosen, plan.shape().hidden_size),
    ])
}

/// Bytes of the workspace that `rank` will allocate where an activation takes `element_bytes`; the
/// largest number there is instead of more. Rotations, scores, routes and logits take 4 everywhere.
pub fn workspace_bytes(
    plan: &ShardPlan,
    rank: usize,
    limits: StepLimits,
    element_bytes: usize,
) -> u64 {
    const WIDE: usize = size_of::<f32>();
    let bytes = |each: usize| {
        move |(rows, width): Shape| (rows as u64).saturating_mul((width * each) as u64)
    };
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
    ] = shapes(plan, rank, limits);
    let dense = dense_shapes(plan, rank, limits).into_iter().flatten();
    let (routing, rows) = expert_shapes(plan, rank, limits)
        .map(|[scores, experts, weights, rows @ ..]| ([scores, experts, weights], rows))
        .unzip();
    let narrow = [x, delta, normed, qkv, attention, last_x, last_attention];
    let narrow = narrow.into_iter().chain(dense);
    let narrow = narrow.chain(rows.into_iter().flatten());
    let wide = [rotation, logits].into_iter();
    let wide = wide.chain(routing.into_iter().flatten());
    let all = narrow
        .map(bytes(element_bytes))
        .chain(wide.map(bytes(WIDE)));
    all.fold(0, u64::saturating_add)
}

impl Workspace {
    pub fn new(
        plan: &ShardPlan,
        rank: usize,
        backend: &dyn Backend,
        limits: StepLimits,
    ) -> Result<Self> {
        let buffer = |(rows, width): Shape| backend.buffer(rows, width);
        let wide = |(rows, width): Shape| backend.wide_buffer(rows, width);
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
        ] = shapes(plan, rank, limits);
        let dense =
            dense_shapes(plan, rank, limits).map(|shapes| DenseWorkspace::new(backend, shapes));
        let experts =
            expert_shapes(plan, rank, limits).map(|shapes| ExpertWorkspace::new(backend, shapes));
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
    fn new(backend: &dyn Backend, [gate_up, activated]: [Shape; 2]) -> Result<Self> {
        Ok(Self {
            gate_up: backend.buffer(gate_up.0, gate_up.1)?,
            activated: backend.buffer(activated.0, activated.1)?,
        })
    }
}

impl ExpertWorkspace {
    fn new(backend: &dyn Backend, shapes: [Shape; 6]) -> Result<Self> {
        let [scores, experts, weights, gate_up, activated, out] = shapes;
        let buffer = |(rows, width): Shape| backend.buffer(rows, width);
        let wide = |(rows, width): Shape| backend.wide_buffer(rows, width);
        Ok(Self {
            scores: wide(scores)?,
            routes: Routes {
                experts: backend.index_buffer(experts.0, experts.1)?,
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
