//! The question: a model, cards, an engine and its limits.

use std::collections::HashMap;
use std::sync::Arc;

use super::gpu_layers::LlamaCpp;
use super::load_quantization::LoadQuantization;
use super::releases::{Latent, Release};
use crate::hardware::{Capability, Gpu, Link};
use crate::parallel::Split;
use crate::shape::{Format, Heads, Kv, Layer, ModelShape, TensorSpec, WeightType};

pub(super) const GIB: f64 = (1u64 << 30) as f64;
/// Unpacked heads of a latent that lie between the two are filled up to the larger: what attention kernels of the time
/// took (vllm#4650 logs 442,368 B a token of 27 layers and 16 heads).
const WIDEST_BUT_ONE: usize = 128;
const WIDEST: usize = 256;
/// Bytes of a line, where latents are filled up to whole ones (vllm#13109 logs 34,560 B a token of 27 layers).
const LINE: usize = 256;

/// Features of a latent that share a scale, where it is kept in FP8 beside an indexer.
const SCALED: usize = 128;
/// To then it is so unless another type is asked for (`DeepseekV32ForCausalLM` in `models/config.py`; the release is inferred).
const PLAIN_UNLESS_ASKED: [u32; 3] = [0, 12, 0];
/// SGLang does so from here on (43.67 GiB of 975,424 tokens in 61 layers on B200, sglang#11309).
const SGLANG_SCALES: Capability = Capability {
    major: 10,
    minor: 0,
};

/// What fit must know of a GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// In full: vLLM tells an A100 from others by it.
    pub name: String,
    /// As CUDA reports it.
    pub memory_gib: f64,
    /// Compute capability.
    pub capability: Capability,
    /// How several of them reach each other.
    pub link: Link,
}

/// NVLink with switches that every card is on.
const SWITCHED_NVLINK: u32 = 4;

impl Card {
    /// Whether switches of NVLink reduce for them.
    pub(super) fn is_switched(&self) -> bool {
        matches!(self.link, Link::NvLink(generation) if generation >= SWITCHED_NVLINK)
    }
}

impl From<&Gpu> for Card {
    fn from(gpu: &Gpu) -> Self {
        Self {
            name: gpu.full_name.clone(),
            memory_gib: gpu.memory_gib,
            capability: gpu.compute_capability,
            link: gpu.link(),
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
    /// SGLang, since it takes its share of the memory that is free before the weights are loaded.
    Sglang,
    /// llama.cpp.
    LlamaCpp(LlamaCpp),
}

impl Engine {
    /// As `--engine` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Candlepower => "candlepower",
            Self::Vllm(_) => "vllm",
            Self::Sglang => "sglang",
            Self::LlamaCpp(_) => "llama.cpp",
        }
    }
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

/// Room for adapters that are applied while requests run (LoRA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lora {
    /// Adapters of one step.
    pub adapters: usize,
    /// The largest rank of one.
    pub rank: usize,
}

/// What a server holds beside the model.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// `None`: the checkpoint is loaded as it is.
    pub quantization: Option<LoadQuantization>,
    /// `None`: no adapters.
    pub lora: Option<Lora>,
    /// The model that drafts tokens for this one to verify: its weights and its KV cache.
    pub draft: Option<ModelShape>,
    /// Tokens that are drafted at a time, by that model or without one.
    pub drafted_tokens: usize,
    /// GiB of weights of each rank that stay in the host's memory.
    pub cpu_offload_gib: f64,
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
    /// Beside the model.
    pub extras: Extras,
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

    /// Of activations: what was asked for, else the checkpoint's; FP8 weights compute in its 16-bit type. vLLM and SGLang run a
    /// checkpoint in f32 in 16 bits unless it is told.
    pub fn dtype(&self) -> WeightType {
        match (self.dtype, self.shape.weight_type, self.engine) {
            (Some(asked), ..) => asked,
            (None, Some(WeightType::F32), Engine::Vllm(_) | Engine::Sglang) => WeightType::F16,
            (None, stored, _) => stored.unwrap_or_default(),
        }
    }

    /// Some layers keep compressed latents.
    pub(super) fn has_compressed(&self) -> bool {
        let mut layers = self.shape.layers.iter();
        layers.any(|layer| matches!(layer.kv, Kv::Compressed(_)))
    }

    /// Bytes of an element of the KV cache.
    pub fn kv_bytes(&self) -> usize {
        match self.kv_type {
            // Scales in the checkpoint are a wish for it.
            KvType::Auto if self.shape.kv_in_fp8 && matches!(self.engine, Engine::Vllm(_)) => 1,
            // There is no kernel for another.
            KvType::Auto if self.has_compressed() => 1,
            KvType::Auto => self.dtype().bytes(),
            KvType::Bf16 | KvType::F16 => WeightType::Bf16.bytes(),
            KvType::F32 => WeightType::F32.bytes(),
            KvType::Fp8 => 1,
        }
    }

    /// What the engine keeps of a token in `layer`.
    pub(super) fn kept(&self, layer: &Layer) -> Kv {
        let (latent, fills_values) = match self.engine {
            Engine::Vllm(release) => (release.latent, release.fills_values),
            Engine::Candlepower | Engine::Sglang | Engine::LlamaCpp(_) => (Latent::Kept, false),
        };
        let filled = |heads: Heads| Heads::alike(heads.count, heads.key_dim);
        match (layer.kv, latent) {
            (Kv::Latent { .. }, Latent::Unpacked) => {
                let head_dim = match self.shape.head_dim {
                    small @ ..=WIDEST_BUT_ONE => small,
                    _ => WIDEST,
                };
                Kv::Full(Heads::alike(self.shape.num_attention_heads, head_dim))
            }
            (
                Kv::Latent {
                    width,
                    rotary,
                    index,
                },
                Latent::Absorbed,
            ) => Kv::Latent {
                width: width.next_multiple_of(LINE / self.kv_bytes()),
                rotary,
                index,
            },
            (Kv::Full(heads), _) if fills_values => Kv::Full(filled(heads)),
            (Kv::Window { heads, window }, _) if fills_values => Kv::Window {
                heads: filled(heads),
                window,
            },
            (kv, _) => kv,
        }
    }

    /// Bytes that a token takes in `layer`.
    pub(super) fn token_bytes(&self, layer: &Layer) -> u64 {
        let kept = self.kept(layer);
        let own = match kept {
            Kv::Latent { width, rotary, .. } if self.scales_latents() => {
                let scales = (width - rotary).div_ceil(SCALED) * size_of::<f32>();
                (width - rotary + scales + 2 * rotary) as u64
            }
            _ => self.kv_bytes_of(kept.elements_per_token(self.split.tp)),
        };
        own + kept.index_bytes_per_token() as u64
    }

    /// Latents beside an indexer are kept in FP8 with scales of their own, and what carries the position in 16 bits
    /// (`fp8_ds_mla`).
    fn scales_latents(&self) -> bool {
        let mut layers = self.shape.layers.iter();
        let picks = layers.any(|layer| layer.kv.index_bytes_per_token() > 0);
        let unasked = match self.engine {
            Engine::Vllm(release) => release.since < PLAIN_UNLESS_ASKED,
            Engine::Sglang => self.card.capability >= SGLANG_SCALES,
            Engine::Candlepower | Engine::LlamaCpp(_) => return false,
        };
        picks && (self.kv_bytes() == 1 || self.kv_type == KvType::Auto && unasked)
    }

    /// Bytes that `elements` of K and V take.
    fn kv_bytes_of(&self, elements: usize) -> u64 {
        match self.engine {
            Engine::LlamaCpp(own) => own.kv_bytes(elements),
            _ => (elements * self.kv_bytes()) as u64,
        }
    }

    /// Bytes that `elements` of `tensor` take on a GPU.
    pub fn bytes(&self, tensor: &TensorSpec, elements: u64) -> u64 {
        let stored = || self.stored.as_ref()?.get(&tensor.name).copied();
        if let Some(how) = self.extras.quantization
            && let Some(bytes) = how.bytes(tensor, elements)
        {
            return bytes;
        }
        let of_each = match (tensor.format, self.engine) {
            (Format::Packed { .. }, _) => return tensor.packed_bytes(elements),
            (Format::Fp8, _) => 1,
            // Kernels read scales in f32, whatever they are stored in.
            (Format::Scale { .. }, _) => size_of::<f32>(),
            // They convert all weights to the activations' type.
            (Format::Plain | Format::Loose, Engine::Vllm(_) | Engine::Sglang) => {
                self.dtype().bytes()
            }
            (Format::Plain | Format::Loose, Engine::Candlepower | Engine::LlamaCpp(_)) => {
                stored().unwrap_or(self.shape.weight_type.unwrap_or_default().bytes())
            }
        };
        elements * of_each as u64
    }
}
