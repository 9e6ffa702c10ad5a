//! What candle lacks: the operations of a paged decoder, behind one seam for each device.
//!
//! `Kernels` works on fixed workspace buffers, of which the first `rows` rows take part: a steady step allocates nothing, and a CUDA graph can replay it.
//! `reference/` is written with plain tensor code and is the oracle for the others.

mod buffer;
pub mod cost;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod experts;
pub mod nothing;
pub mod reference;
pub mod row;
pub mod rows;
pub mod sampling;
pub mod storage;
mod weight;

use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};

use crate::ground::recorder::Timer;

pub use buffer::Buffer;
pub use experts::{Expert, ExpertSpace, Experts, Routes, Routing};
pub use rows::Rows;
pub use sampling::summary::{Ask, Summary};
pub use sampling::{Pick, Sampled};
pub use weight::{BlockScales, Linear, PartScales, WeightRows};

/// Bytes that a tensor's elements take.
fn bytes_of(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}

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

/// Bytes of a device with memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    pub free: u64,
    pub total: u64,
}

/// Work that a device keeps, to be queued again as one.
pub trait Replay {
    /// # Errors
    /// The device has failed.
    fn replay(&self) -> Result<()>;
}

/// Rates that a device reaches at best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceRoofs {
    pub read_bytes_per_s: f64,
    pub flop_per_s: f64,
}

/// Device operations of the decoder. Tensors are `[at least rows, width]`, of the type of `activations` unless said.
///
/// Shapes were fixed at load; an error here is a broken invariant or a device failure.
pub trait Kernels: Send + Sync {
    fn name(&self) -> &'static str;

    /// Which device it is, among those of its kind.
    fn device(&self) -> String {
        self.name().to_owned()
    }

    /// Of the device, where it has memory of its own; what no buffer holds any more is given back first.
    fn memory(&self) -> Result<Option<DeviceMemory>> {
        Ok(None)
    }

    /// Takes room for steps of up to so many rows and sequences, of so many blocks each: what a graph was captured
    /// with stays where it is.
    fn reserve(&self, _rows: usize, _sequences: usize, _max_blocks: usize) -> Result<()> {
        Ok(())
    }

    /// Keeps what `work` queues instead of running it; `None` where a device cannot. The buffers must live as
    /// long as the replays; `reserve` was called, and a step like that of the capture has run.
    fn capture(&self, _work: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Replay>>> {
        Ok(None)
    }

    /// Waits for all that was queued.
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    /// Whether steps are queued: `queue_greedy`, `send_greedy` and `collect_greedy` are there.
    fn queues(&self) -> bool {
        false
    }

    /// Times what is queued on the device; `None` where operations are done when they return.
    fn timer(&self) -> Option<Box<dyn Timer>> {
        None
    }

    /// What activations are stored as.
    fn activations(&self) -> DType {
        DType::F32
    }

    /// What the device can do at best, measured; `None` where it cannot be.
    fn measure_roofs(&self) -> Option<DeviceRoofs> {
        None
    }

    /// Tells of a step's rows before its first operation: a device with memory of its own copies them there,
    /// and its operations read the copy in place of the slices they are given.
    fn begin_step(&self, _tokens: &[u32], _rows: &Rows, _logit_rows: &[u32]) -> Result<()> {
        Ok(())
    }

    /// A zeroed activation buffer.
    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer>;

    /// A zeroed f32 buffer, whatever activations are: rotations, scores, logits.
    fn wide_buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        self.buffer(rows, width)
    }

    /// A small f32 tensor of the CPU where the kernels read it.
    fn vector(&self, values: Tensor) -> Result<Tensor> {
        Ok(values)
    }

    /// A zeroed buffer of u32: chosen experts, and how often each was chosen.
    fn index_buffer(&self, rows: usize, width: usize) -> Result<Buffer>;

    /// A cache for one layer, of which nothing is read that was not written; memory is touched only then where the
    /// device can.
    fn kv_layer(
        &self,
        num_blocks: usize,
        block_size: usize,
        shape: &AttentionShape,
        dtype: DType,
    ) -> Result<KvLayer>;

    /// Stacks `parts` along n and lays them out for `linear` and `embed`. Parts agree in k; those that differ
    /// in dtype meet in f32. Parts that are all e4m3 stay so, their scales beside them; `embed` and `greedy`
    /// do not take them.
    ///
    /// # Errors
    /// An e4m3 part without scales or with a NaN, or parts whose blocks lie differently along k.
    fn pack(&self, parts: &[&dyn WeightRows], bias: Option<Tensor>) -> Result<Linear>;

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

    /// The token at which the mass of `row`'s tokens so far exceeds `mass`, and its logit: see
    /// [`sampling::summary::locate`].
    fn locate(
        &self,
        logits: &Tensor,
        vocab: &Range<usize>,
        row: usize,
        temperature: f32,
        mass: f64,
    ) -> Result<(u32, f32)>;

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

    /// What of [`Self::greedy`] a graph can keep, by kernels that [`Self::capture`].
    fn queue_greedy(&self, _logits: &Buffer, _vocab: &Range<usize>, _rows: usize) -> Result<()> {
        bail!("{} kernels queue nothing", self.name())
    }

    /// Sends the answers of what was queued last on their way, and keeps them for a next step that names its tokens
    /// by `ground::pending`. At most two may be on their way.
    fn send_greedy(&self, _rows: usize) -> Result<()> {
        bail!("{} kernels queue nothing", self.name())
    }

    /// Waits for the answers that were sent first.
    fn collect_greedy(&self, _rows: usize, _out: &mut Vec<(u32, f32)>) -> Result<()> {
        bail!("{} kernels queue nothing", self.name())
    }
}
