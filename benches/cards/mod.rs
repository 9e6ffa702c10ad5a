//! Operands at the shapes of real models, from the cards that the program carries.

#![allow(dead_code, reason = "each bench uses its own part")]

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use candlepower::hub::cards;
use candlepower::model::ModelSpec;
use candlepower::ops::cpu::Cpu;
use candlepower::ops::{
    AttentionShape, Backend, Buffer, HeadNorms, KvLayer, Linear, Norm, PartScales, Rope, Rows,
    WeightRows, storage,
};
use float8::F8E4M3;
use half::bf16;

const NAMES: [&str; 3] = [
    "Qwen2.5-0.5B",
    "Qwen3-0.6B",
    "DeepSeek-R1-Distill-Qwen-1.5B",
];
const BLOCK_SIZE: usize = 16;
/// Makes block tables that jump about: odd, so that it visits every block of a power of two.
const BLOCK_STRIDE: usize = 101;
const SCALE_BLOCK: usize = 128;
/// No kernel looks at values but the sampler; these stay finite through all of them.
const ACTIVATION: f32 = 0.5;
const WEIGHT: f32 = 0.01;
const CACHED: f32 = 0.01;

pub fn models() -> impl Iterator<Item = (&'static str, ModelSpec)> {
    NAMES.into_iter().map(|name| {
        let card = cards::find(name).expect("a model card's name");
        let spec = ModelSpec::from_json(card.config_json, name).expect("cards are valid");
        (name, spec)
    })
}

pub fn attention(spec: &ModelSpec) -> AttentionShape {
    AttentionShape {
        num_heads: spec.num_attention_heads,
        num_kv_heads: spec.num_key_value_heads,
        head_dim: spec.head_dim,
        window: None,
    }
}

/// `(name, output features, input features)` of each linear layer.
pub fn linears(spec: &ModelSpec) -> [(&'static str, usize, usize); 5] {
    let (hidden, inner) = (spec.hidden_size, spec.intermediate_size);
    [
        ("qkv", attention(spec).qkv_width(), hidden),
        ("o", hidden, spec.q_size()),
        ("gate_up", 2 * inner, hidden),
        ("down", hidden, inner),
        ("head", spec.vocab_size, hidden),
    ]
}

/// `[n, k]`, every element the same; of e4m3, with scales of the published checkpoints' blocks.
struct Flat {
    shape: (usize, usize),
    dtype: DType,
}

impl WeightRows for Flat {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn read(&self, rows: Range<usize>) -> Result<Tensor> {
        let shape = (rows.len(), self.shape.1);
        match self.dtype {
            DType::F8E4M3 => Tensor::full(F8E4M3::ONE, shape, &Device::Cpu),
            _ => Tensor::full(bf16::from_f32(WEIGHT), shape, &Device::Cpu),
        }
    }

    fn scales(&self) -> Result<Option<PartScales>> {
        if self.dtype != DType::F8E4M3 {
            return Ok(None);
        }
        let (n, k) = self.shape;
        let grid = (n.div_ceil(SCALE_BLOCK), k.div_ceil(SCALE_BLOCK));
        Ok(Some(PartScales {
            values: Tensor::full(WEIGHT, grid, &Device::Cpu)?,
            block: [SCALE_BLOCK; 2],
            offset: [0; 2],
        }))
    }
}

/// Packed, in bf16 or e4m3.
pub fn weights(n: usize, k: usize, dtype: DType) -> Linear {
    let flat = Flat {
        shape: (n, k),
        dtype,
    };
    Cpu::F32.pack(&[&flat], None).expect("weights are packed")
}

pub fn norm(width: usize, spec: &ModelSpec) -> Norm {
    Norm {
        weight: Tensor::ones(width, DType::F32, &Device::Cpu).expect("a norm's weight"),
        eps: spec.rms_norm_eps as f32,
    }
}

pub fn head_norms(spec: &ModelSpec) -> Option<HeadNorms> {
    spec.qk_norm.then(|| HeadNorms {
        q: norm(spec.head_dim, spec),
        k: norm(spec.head_dim, spec),
    })
}

pub fn rope(spec: &ModelSpec) -> Rope {
    Rope {
        inverse_frequencies: spec.rope.inverse_frequencies(spec.head_dim),
        attention_factor: spec.rope.attention_factor(),
    }
}

/// A written workspace buffer: pages that nobody wrote are all one page of zeros.
pub fn buffer(rows: usize, width: usize) -> Buffer {
    let buffer = Cpu::F32.buffer(rows, width).expect("a buffer");
    fill(&buffer, ACTIVATION);
    buffer
}

/// A written cache for [`rows`].
pub fn cache(shape: &AttentionShape, sequences: usize, context: usize) -> KvLayer {
    let cache = Cpu::F32.kv_layer(blocks(sequences, context), BLOCK_SIZE, shape, DType::BF16);
    let cache = cache.expect("a cache");
    fill(&cache.k, bf16::from_f32(CACHED));
    fill(&cache.v, bf16::from_f32(CACHED));
    cache
}

fn fill<T: storage::Element>(buffer: &Buffer, value: T) {
    let filled = storage::write(buffer, |values: &mut [T]| {
        values.fill(value);
        Ok(())
    });
    filled.expect("a buffer is filled");
}

/// The last `rows` of `context` tokens in each of some sequences, whose blocks lie anywhere.
pub fn rows(sequences: usize, rows: usize, context: usize) -> Rows {
    let max_blocks = context.div_ceil(BLOCK_SIZE);
    let blocks = blocks(sequences, context);
    let mut all = Rows {
        query_offsets: (0..=sequences).map(|i| (i * rows) as u32).collect(),
        context_lens: vec![context as u32; sequences],
        block_tables: (0..sequences * max_blocks)
            .map(|i| (i * BLOCK_STRIDE % blocks) as u32)
            .collect(),
        max_blocks,
        ..Rows::default()
    };
    for sequence in 0..sequences {
        for position in context - rows..context {
            let block = all.block_table(sequence)[position / BLOCK_SIZE] as usize;
            all.positions.push(position as u32);
            all.slots
                .push((block * BLOCK_SIZE + position % BLOCK_SIZE) as u32);
        }
    }
    all
}

fn blocks(sequences: usize, context: usize) -> usize {
    (sequences * context.div_ceil(BLOCK_SIZE)).next_power_of_two()
}
