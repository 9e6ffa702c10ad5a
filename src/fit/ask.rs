//! The question: a model, cards, an engine and its limits.

use std::collections::HashMap;
use std::sync::Arc;

use super::releases::Release;
use crate::hardware::{Capability, Gpu};
use crate::parallel::Split;
use crate::shape::{Format, ModelShape, TensorSpec, WeightType};

pub(super) const GIB: f64 = (1u64 << 30) as f64;

/// What fit must know of a GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// In full: vLLM tells an A100 from others by it.
    pub name: String,
    /// As CUDA reports it.
    pub memory_gib: f64,
    /// Compute capability.
    pub capability: Capability,
}

impl From<&Gpu> for Card {
    fn from(gpu: &Gpu) -> Self {
        Self {
            name: gpu.full_name.clone(),
            memory_gib: gpu.memory_gib,
            capability: gpu.compute_capability,
        }
    }
}

/// Whose rules and whose memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Engine {
    /// This crate's own engine.
    Candlepower,
    /// vLLM, as a release of it counts.
    Vllm(&'static Release),
}

/// Element type of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// The activations' type; on the CPU bf16, f32 for weights in f32.
    #[default]
    Auto,
    /// 2 bytes.
    Bf16,
    /// 2 bytes.
    F16,
    /// 4 bytes.
    F32,
    /// 1 byte, e4m3.
    Fp8,
}

/// What may be left to the engine's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Tokens of the longest request.
    pub max_model_len: Option<usize>,
    /// Share of the card's memory that the engine may use.
    pub utilization: Option<f64>,
    /// Requests that run at a time.
    pub max_num_seqs: Option<usize>,
    /// Tokens of one step.
    pub max_num_batched_tokens: Option<usize>,
}

/// Requests that are wanted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests at once.
    pub concurrency: usize,
    /// Prompt tokens of each.
    pub input_len: usize,
    /// Output tokens of each.
    pub output_len: usize,
}

impl Load {
    /// Tokens of a request at its end.
    pub fn tokens(&self) -> usize {
        self.input_len.saturating_add(self.output_len)
    }
}

/// Bytes of an element of each tensor, by name, where a checkpoint is there to tell.
pub type StoredBytes = HashMap<String, usize>;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Words for the model.
    pub model: String,
    /// Of the model.
    pub shape: ModelShape,
    /// Of a checkpoint that is there to tell.
    pub stored: Option<Arc<StoredBytes>>,
    /// The card under each rank.
    pub card: Card,
    /// At least `split.tp * pp`; a multiple of that is replicas.
    pub gpus: usize,
    /// How ranks share the model.
    pub split: Split,
    /// Pipeline stages.
    pub pp: usize,
    /// Whose rules and whose memory.
    pub engine: Engine,
    /// What the engine was told.
    pub limits: Limits,
    /// Tokens of a KV block.
    pub block_size: usize,
    /// Type of activations; `None`: the checkpoint's.
    pub dtype: Option<WeightType>,
    /// Of the KV cache.
    pub kv_type: KvType,
    /// No CUDA graphs.
    pub eager: bool,
    /// `None`: nothing was said of one.
    pub load: Option<Load>,
}

impl Ask {
    /// GPUs that work on one copy of the model.
    pub fn ranks(&self) -> usize {
        self.split.tp * self.pp
    }

    /// Whole copies of the model.
    pub fn replicas(&self) -> usize {
        self.gpus / self.ranks()
    }

    /// Of activations: what was asked for, else the checkpoint's; FP8 weights compute in its 16-bit type.
    pub fn dtype(&self) -> WeightType {
        self.dtype.or(self.shape.weight_type).unwrap_or_default()
    }

    /// Bytes of an element of the KV cache.
    pub fn kv_bytes(&self) -> usize {
        match self.kv_type {
            KvType::Auto => self.dtype().bytes(),
            KvType::Bf16 | KvType::F16 => WeightType::Bf16.bytes(),
            KvType::F32 => WeightType::F32.bytes(),
            KvType::Fp8 => 1,
        }
    }

    /// Bytes that `elements` of `tensor` take on a GPU.
    pub fn bytes(&self, tensor: &TensorSpec, elements: u64) -> u64 {
        let stored = || self.stored.as_ref()?.get(&tensor.name).copied();
        let of_each = match (tensor.format, self.engine) {
            (Format::Packed { .. }, _) => return tensor.packed_bytes(elements),
            (Format::Fp8, _) => 1,
            // Kernels read scales in f32, whatever they are stored in.
            (Format::Scale { .. }, _) => size_of::<f32>(),
            // vLLM converts all weights to the activations' type.
            (Format::Plain | Format::Loose, Engine::Vllm(_)) => self.dtype().bytes(),
            (Format::Plain | Format::Loose, Engine::Candlepower) => {
                stored().unwrap_or(self.shape.weight_type.unwrap_or_default().bytes())
            }
        };
        elements * of_each as u64
    }
}
