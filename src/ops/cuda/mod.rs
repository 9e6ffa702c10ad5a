//! The kernels of `kernels/*.cu` behind `Kernels`, for one rank on one GPU.
//!
//! Activations and weights have one type, f32, f16 or bf16; sums, norms, rotations, scores and logits are f32.
//! A step's rows are uploaded once, by `begin_step`: methods that take them again read the GPU's copy.

mod activity;
mod answers;
mod attention;
mod chain;
#[cfg(feature = "nccl")]
pub mod communicator;
mod counted;
mod cupti;
mod device;
mod elementwise;
pub mod exchange;
mod experts;
mod fp8;
mod graph;
mod kv;
mod launches;
mod linear;
mod modules;
mod noise;
mod nvtx;
mod occupancy;
mod pack;
mod patience;
mod pinned;
mod product;
mod queue;
mod roof;
mod sampling;
mod step;
mod tensor;
mod timer;
mod uploads;

use std::any::Any;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use candle_core::{DType, Result, Tensor, bail};

pub use answers::keys_of;
pub use device::{Gpu, is_out_of_memory};
pub use patience::{Peers, TIMEOUT, Watch};

use super::{
    Ask, AttentionShape, Backend, Buffer, DeviceMemory, DeviceRoofs, ExpertSpace, Experts,
    HeadNorms, Kernels, KvLayer, Linear, Norm, Pick, Queue, Rope, Routes, Routing, Rows, Summary,
    WeightRows,
};
use crate::ground::recorder::Timer;
use modules::{Arg, Grid, Modules};
use step::Step;

pub struct Cuda {
    gpu: Gpu,
    /// Of activations and weights.
    dtype: DType,
    modules: Modules,
    step: Mutex<Step>,
    blas: linear::Blas,
    tables: product::Tables,
    uploads: Mutex<uploads::Uploads>,
    quantized: Mutex<product::Space>,
    widened: Mutex<fp8::Space>,
    sampling: Mutex<sampling::Space>,
    answers: Mutex<answers::Answers>,
    attention: Mutex<attention::Space>,
    experts: Mutex<experts::Space>,
    rope: Mutex<elementwise::Frequencies>,
}

impl Cuda {
    /// # Errors
    /// `dtype` is none that kernels compute in, or cuBLASLt does not start.
    pub fn new(gpu: Gpu, dtype: DType) -> Result<Self> {
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            bail!("CUDA kernels compute in f32, f16 or bf16, not in {dtype:?}");
        }
        Ok(Self {
            blas: linear::Blas::new(&gpu)?,
            gpu,
            dtype,
            modules: Modules::default(),
            step: Mutex::default(),
            tables: product::Tables::default(),
            uploads: Mutex::default(),
            quantized: Mutex::default(),
            widened: Mutex::default(),
            sampling: Mutex::default(),
            answers: Mutex::default(),
            attention: Mutex::default(),
            experts: Mutex::default(),
            rope: Mutex::default(),
        })
    }

    /// With other kernels in place of those of `kernels/<file>.cu`: PTX, for tests that show what each part of them is
    /// for.
    ///
    /// # Errors
    /// As [`Self::new`]; or the PTX is none.
    pub fn replaced(gpu: Gpu, dtype: DType, file: &'static str, ptx: String) -> Result<Self> {
        let modules = Modules::replaced(&gpu, file, ptx)?;
        Ok(Self {
            modules,
            ..Self::new(gpu, dtype)?
        })
    }

    /// Once all weights are packed: waits for the last of them, and frees what they went through. How long the host has
    /// waited for copies.
    ///
    /// # Errors
    /// The device has failed.
    pub fn loaded(&self) -> Result<Duration> {
        std::mem::take(&mut *lock(&self.uploads)).finish(&self.gpu)
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        lock(&self.step)
    }

    fn launch(&self, file: &str, function: &str, grid: Grid, arguments: &[Arg]) -> Result<()> {
        self.modules
            .launch(&self.gpu, file, function, grid, arguments)
    }

    fn zeros(&self, dims: &[usize], dtype: DType) -> Result<Buffer> {
        Buffer::new(Tensor::zeros(dims, dtype, &self.gpu.candle())?)
    }
}

/// A rank has one thread: nobody else holds the lock, and nothing is half written after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How kernels name an element type.
fn suffix(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F16 => Ok("f16"),
        DType::BF16 => Ok("bf16"),
        DType::F8E4M3 => Ok("e4m3"),
        other => bail!("no CUDA kernel takes {other:?}"),
    }
}

impl Backend for Cuda {
    fn device(&self) -> String {
        format!("cuda:{}", self.gpu.ordinal())
    }

    fn memory(&self) -> Result<Option<DeviceMemory>> {
        self.gpu.synchronize()?;
        self.gpu.trim_pool()?;
        self.gpu.memory().map(Some)
    }

    fn timer(&self, profiled: bool) -> Option<Box<dyn Timer>> {
        Some(Box::new(timer::Events::new(&self.gpu, profiled)))
    }

    fn activity(&self) -> Option<std::result::Result<Box<dyn Timer>, String>> {
        let activity = activity::Activity::new(&self.gpu);
        Some(activity.map(|timer| Box::new(timer) as _))
    }

    fn range(&self, name: &dyn Fn() -> String) -> Option<Box<dyn Any>> {
        nvtx::Range::open(name).map(|range| Box::new(range) as _)
    }

    fn measure_roofs(&self) -> Option<DeviceRoofs> {
        roof::measure(self).ok()
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        self.zeros(&[rows, width], self.dtype)
    }

    fn wide_buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        self.zeros(&[rows, width], DType::F32)
    }

    fn index_buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        self.zeros(&[rows, width], DType::U32)
    }

    fn vector(&self, values: Tensor) -> Result<Tensor> {
        tensor::moved(&self.gpu, &values)
    }

    fn kv_layer(
        &self,
        num_blocks: usize,
        block_size: usize,
        shape: &AttentionShape,
        dtype: DType,
    ) -> Result<KvLayer> {
        let dims = [num_blocks, block_size, shape.num_kv_heads, shape.head_dim];
        // What no step has written, none reads.
        let cache = || Buffer::new(tensor::uninitialized(&self.gpu, &dims, dtype)?);
        Ok(KvLayer {
            k: cache()?,
            v: cache()?,
        })
    }

    fn pack(&self, parts: &[&dyn WeightRows], bias: Option<Tensor>) -> Result<Linear> {
        pack::pack(self, parts, bias)
    }

    fn synchronize(&self) -> Result<()> {
        self.gpu.synchronize()
    }

    fn is_lost(&self) -> bool {
        self.gpu.is_lost()
    }

    fn queue(&self) -> Option<&dyn Queue> {
        Some(self)
    }
}

impl Kernels for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn activations(&self) -> DType {
        self.dtype
    }

    fn begin_step(
        &self,
        tokens: &[u32],
        rows: &Rows,
        logit_rows: &[u32],
        picks: &[Pick],
    ) -> Result<()> {
        self.step()
            .upload(&self.gpu, tokens, rows, logit_rows, picks)
    }

    fn embed(&self, table: &Linear, first: u32, tokens: &[u32], out: &Buffer) -> Result<()> {
        elementwise::embed(self, table, first, tokens.len(), out)
    }

    fn rope(&self, rope: &Rope, positions: &[u32], out: &Buffer) -> Result<()> {
        elementwise::rope(self, rope, positions.len(), out)
    }

    fn add_norm(
        &self,
        x: &Buffer,
        delta: Option<&Buffer>,
        norm: &Norm,
        rows: usize,
        out: &Buffer,
    ) -> Result<()> {
        elementwise::add_norm(self, x, delta, norm, rows, out)
    }

    fn linear(&self, x: &Tensor, w: &Linear, rows: usize, out: &Buffer) -> Result<()> {
        match &w.scales {
            None => linear::linear(self, x, w, rows, out),
            Some(scales) => fp8::linear(self, x, w, scales, rows, out),
        }
    }

    fn write_kv(
        &self,
        qkv: &Buffer,
        shape: &AttentionShape,
        norms: Option<&HeadNorms>,
        rotation: &Tensor,
        rows: &Rows,
        kv: &KvLayer,
    ) -> Result<()> {
        kv::write(self, qkv, shape, norms, rotation, rows.len(), kv)
    }

    fn attend(
        &self,
        qkv: &Tensor,
        shape: &AttentionShape,
        _rows: &Rows,
        kv: &KvLayer,
        out: &Buffer,
    ) -> Result<()> {
        attention::attend(self, qkv, shape, kv, out)
    }

    fn silu_mul(&self, gate_up: &Tensor, rows: usize, out: &Buffer) -> Result<()> {
        elementwise::silu_mul(self, gate_up, rows, out)
    }

    fn gates(&self, x: &Tensor, gate_up: &Linear, rows: usize) -> Result<bool> {
        linear::gates(self, x, gate_up, rows)
    }

    fn gated(&self, x: &Tensor, gate_up: &Linear, rows: usize, out: &Buffer) -> Result<()> {
        linear::gated(self, x, gate_up, rows, out)
    }

    fn route(
        &self,
        scores: &Buffer,
        routing: &Routing,
        rows: usize,
        routes: &Routes,
        load: &Buffer,
    ) -> Result<()> {
        experts::route(self, scores, routing, rows, routes, load)
    }

    fn experts(
        &self,
        x: &Buffer,
        experts: &Experts,
        routes: &Routes,
        rows: usize,
        space: &ExpertSpace,
        out: &Buffer,
    ) -> Result<()> {
        experts::experts(self, x, experts, routes, rows, space, out)
    }

    fn experts_read(&self) -> Result<Option<u32>> {
        experts::read_so_far(self).map(Some)
    }

    fn gather(&self, x: &Tensor, indices: &[u32], out: &Buffer) -> Result<()> {
        elementwise::gather(self, x, indices.len(), out)
    }

    fn summarize(
        &self,
        logits: &Tensor,
        vocab: &Range<usize>,
        asks: &[Ask],
        out: &mut Vec<Summary>,
    ) -> Result<()> {
        sampling::summarize(self, logits, vocab, asks, out)
    }

    fn greedy(
        &self,
        x: &Tensor,
        head: &Linear,
        vocab: &Range<usize>,
        rows: usize,
        logits: &Buffer,
        out: &mut Vec<(u32, f32)>,
    ) -> Result<()> {
        self.linear(x, head, rows, logits)?;
        self.queue_draw(logits, vocab, rows)?;
        self.send(rows)?;
        self.collect(rows, out)?;
        Ok(())
    }
}
