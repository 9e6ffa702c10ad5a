//! The operations of a step.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};

use super::buffer::Buffer;
use super::experts::{ExpertSpace, Experts, Routes, Routing};
use super::operands::{AttentionShape, HeadNorms, KvLayer, Norm, Rope};
use super::rows::Rows;
use super::sampling::Pick;
use super::sampling::summary::{Ask, Summary};
use super::weight::Linear;

/// Device operations of the decoder. Tensors are `[at least rows, width]`, of the type of `activations` unless said.
///
/// Shapes were fixed at load; an error here is a broken invariant or a device failure.
pub trait Kernels: Send + Sync {
    fn name(&self) -> &'static str;

    /// What activations are stored as.
    fn activations(&self) -> DType {
        DType::F32
    }

    /// Tells of a step's rows before its first operation: a device with memory of its own copies them there,
    /// and its operations read the copy in place of the slices they are given.
    fn begin_step(
        &self,
        _tokens: &[u32],
        _rows: &Rows,
        _logit_rows: &[u32],
        _picks: &[Pick],
    ) -> Result<()> {
        Ok(())
    }

    /// `out[i] = table[tokens[i] - first]`; zeros for a token that `table` has no row of.
    fn embed(&self, table: &Linear, first: u32, tokens: &[u32], out: &Buffer) -> Result<()>;

    /// Rotation of each row's position: `out[i] = [cos.., sin..]`, `head_dim` wide.
    fn rope(&self, rope: &Rope, positions: &[u32], out: &Buffer) -> Result<()>;

    /// `x += delta` where there is one, then `out = norm(x)`.
    fn add_norm(
        &self,
        x: &Buffer,
        delta: Option<&Buffer>,
        norm: &Norm,
        rows: usize,
        out: &Buffer,
    ) -> Result<()>;

    fn linear(&self, x: &Tensor, w: &Linear, rows: usize, out: &Buffer) -> Result<()>;

    /// Head norms, then rotation, of q (in place) and k; k and v go to the rows' slots.
    fn write_kv(
        &self,
        qkv: &Buffer,
        shape: &AttentionShape,
        norms: Option<&HeadNorms>,
        rotation: &Tensor,
        rows: &Rows,
        kv: &KvLayer,
    ) -> Result<()>;

    /// Causal attention of the rows' q over their sequences' cached k and v.
    fn attend(
        &self,
        qkv: &Tensor,
        shape: &AttentionShape,
        rows: &Rows,
        kv: &KvLayer,
        out: &Buffer,
    ) -> Result<()>;

    /// `out = silu(gate) * up`, from rows `[gate.., up..]`.
    fn silu_mul(&self, gate_up: &Tensor, rows: usize, out: &Buffer) -> Result<()>;

    /// Whether [`Self::gated`] is one operation for these rows.
    fn gates(&self, _x: &Tensor, _gate_up: &Linear, _rows: usize) -> Result<bool> {
        Ok(false)
    }

    /// [`Self::silu_mul`] of what [`Self::linear`] makes of `x`, of which nothing is kept.
    fn gated(&self, _x: &Tensor, _gate_up: &Linear, _rows: usize, _out: &Buffer) -> Result<()> {
        candle_core::bail!("{} has no gated layers", self.name())
    }

    /// Chooses each row's experts from its `scores`, f32 `[rows, num_experts]`: softmax over all of them, the
    /// `top_k` highest, normalised where asked. Adds 1 to `load[expert]`, u32 `[1, num_experts]`, for each choice.
    fn route(
        &self,
        scores: &Buffer,
        routing: &Routing,
        rows: usize,
        routes: &Routes,
        load: &Buffer,
    ) -> Result<()>;

    /// `out[i] = Σ weight * down(silu(gate x[i]) * up x[i])` over the chosen experts that are held here, in the
    /// order of the row's choices; zeros for a row that chose none of them.
    fn experts(
        &self,
        x: &Buffer,
        experts: &Experts,
        routes: &Routes,
        rows: usize,
        space: &ExpertSpace,
        out: &Buffer,
    ) -> Result<()>;

    /// How many experts' weights [`Self::experts`] has read so far, over all calls, wrapping around; `None` where the
    /// routes themselves can be read at once.
    fn experts_read(&self) -> Result<Option<u32>> {
        Ok(None)
    }

    /// `out[i] = x[indices[i]]`.
    fn gather(&self, x: &Tensor, indices: &[u32], out: &Buffer) -> Result<()>;

    /// Answers each of `asks` from its row of `logits`, whose first columns are the tokens `vocab`;
    /// `out` has one answer an ask afterwards, and keeps its buffers.
    fn summarize(
        &self,
        logits: &Tensor,
        vocab: &Range<usize>,
        asks: &[Ask],
        out: &mut Vec<Summary>,
    ) -> Result<()>;

    /// The token of the highest logit for each of the first `rows` rows of `x`, and that logit: as from
    /// `linear`, over the head's first rows, which are the tokens `vocab`. `logits` is room for a device that must
    /// keep them meanwhile.
    /// A row with a NaN gives a NaN, and a head without tokens the lowest number there is.
    fn greedy(
        &self,
        x: &Tensor,
        head: &Linear,
        vocab: &Range<usize>,
        rows: usize,
        logits: &Buffer,
        out: &mut Vec<(u32, f32)>,
    ) -> Result<()>;
}
