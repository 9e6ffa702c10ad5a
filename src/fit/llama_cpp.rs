//! What llama.cpp takes: the tensors of the layers that lie on GPUs, the whole KV cache of one context, and one compute
//! buffer (`llama-model.cpp`, `llama-kv-cache.cpp`, `ggml-alloc.c`).

use super::ask::{Ask, GIB};
use super::gpu_layers::LlamaCpp;
use super::terms::{Item, Settings, Stage, Terms};

/// Tokens of a step (`-ub`), and contexts of their own (`-np`), by default.
const UBATCH: usize = 512;
const PARALLEL: usize = 1;
/// The CUDA context, and cuBLAS when the first step runs.
const CONTEXT_GIB: f64 = 0.5;
/// Rows of the graph are in f32.
const ROW_BYTES: usize = 4;
/// Rows of hidden size beside the attention scores (fit2-059), and beside the MLP with two of its own.
const ATTENTION_ROWS: usize = 4;
const MLP_ROWS: usize = 3;
/// Of the attention mask, for each token of the context and of a step: f32, and a copy in f16 for flash attention
/// (fit2-069).
const MASK_BYTES: usize = 4;
const FLASH_MASK_BYTES: usize = 6;

pub(super) fn settings(ask: &Ask) -> Settings {
    let limits = ask.limits;
    let max_model_len = limits.max_model_len.unwrap_or(ask.shape.positions);
    Settings {
        max_model_len,
        utilization: limits.utilization.unwrap_or(1.0),
        max_num_seqs: limits.max_num_seqs.unwrap_or(PARALLEL),
        max_num_batched_tokens: limits
            .max_num_batched_tokens
            .unwrap_or(UBATCH)
            .min(max_model_len),
    }
}

pub(super) fn terms(own: LlamaCpp, stage: &Stage) -> Terms {
    Terms {
        weights: Item {
            bytes: stage.weights,
            how: format!(
                "{:.2} of the tensors on this GPU",
                stage.weights as f64 / GIB
            ),
        },
        activations: compute_buffer(own, stage),
        overhead: Item::from_gib(CONTEXT_GIB, "CUDA context and cuBLAS: an allowance"),
        graphs: Item::from_gib(0.0, "none of its own"),
        while_loading: 0,
        graphs_in_budget: true,
        beyond_graphs: 0,
        before_start: 0,
    }
}

/// The largest of what attention, the MLP and the head need at once.
fn compute_buffer(own: LlamaCpp, stage: &Stage) -> Item {
    let (shape, settings) = (&stage.ask.shape, stage.settings);
    let (rows, context) = (settings.max_num_batched_tokens, settings.max_model_len);
    let hidden = rows * shape.hidden_size * ROW_BYTES;
    let (scores, mask) = match own.flash_attention {
        true => (0, FLASH_MASK_BYTES * context * rows),
        false => (
            shape.num_attention_heads * rows * context * ROW_BYTES,
            MASK_BYTES * context * rows,
        ),
    };
    let attention = scores + mask + ATTENTION_ROWS * hidden;
    let inside = shape.dense_width().unwrap_or(0);
    let mlp = mask + 2 * rows * inside * ROW_BYTES + MLP_ROWS * hidden;
    let head = match stage.last {
        true => rows * shape.vocab_size * ROW_BYTES + hidden,
        false => 0,
    };
    Item {
        bytes: attention.max(mlp).max(head) as u64,
        how: format!("compute buffer: {rows} tokens of a step, a context of {context}"),
    }
}
