//! What a rank of our own engine holds on its GPU for its kernels and for its peers.

use super::terms::Stage;
use crate::ops::scratch::{
    self, BLAS_BYTES, CHANNEL_BYTES, EXPERT_ROWS, PIECE_BYTES, RUN, TILE_WORDS, WIDENED_MAJOR,
    WIDENED_ROWS,
};
use crate::shape::Quantization;

/// Of the largest card, a B200: partial results of attention grow with them.
const MULTIPROCESSORS: usize = 148;

/// Bytes of the largest layer in blocks of e4m3, widened; 0 where nobody does so.
fn widened(stage: &Stage) -> u64 {
    let (shape, rank) = (stage.plan.shape(), stage.plan.rank_shape(0));
    let rows = stage.settings.max_num_batched_tokens;
    let does = stage.ask.card.capability.major == WIDENED_MAJOR && rows >= WIDENED_ROWS;
    if !does || !matches!(shape.quantization, Some(Quantization::Fp8 { .. })) {
        return 0;
    }
    let (hidden, inside) = (shape.hidden_size, rank.intermediate_size);
    let q_width = rank.num_heads * shape.head_dim;
    let qkv_width = q_width + 2 * rank.num_kv_heads * shape.head_dim;
    let weights = hidden * qkv_width.max(q_width).max(2 * inside);
    (weights * stage.ask.dtype().bytes()) as u64
}

/// Bytes of the scratch of kernels.
pub(super) fn kernels(stage: &Stage) -> u64 {
    let settings = stage.settings;
    let rows = settings.max_num_batched_tokens;
    let sequences = settings.max_num_seqs.min(rows);
    let (shape, rank) = (stage.plan.shape(), stage.plan.rank_shape(0));
    // Block tables grow with the longest request, and what is left for one must not shrink with it: 8 MiB of 256 requests
    // of 131,072 tokens are left out.
    let step: usize = scratch::step(rows, sequences, sequences, 0).iter().sum();
    let head_dim = scratch::padded(shape.head_dim).unwrap_or(shape.head_dim);
    let group = rank.num_heads / rank.num_kv_heads;
    let parts = scratch::attention(MULTIPROCESSORS, group, head_dim);
    // A room for each power of two of rows.
    let runs = 2 * (sequences * rank.vocab.len().div_ceil(RUN)).next_power_of_two();
    let lists = shape.experts().map_or(0, |experts| {
        let chosen = rows.saturating_mul(experts.per_token);
        let [short, tall] = scratch::expert_tiles(chosen, rank.experts.len(), EXPERT_ROWS);
        chosen.saturating_add((short + tall).saturating_mul(TILE_WORDS))
    });
    let words = [step, parts.iter().sum(), lists];
    let words = words.into_iter().fold(0, usize::saturating_add) as u64;
    let wide = (scratch::record(sequences) + runs) as u64;
    let words = words.saturating_mul(size_of::<u32>() as u64) + widened(stage);
    BLAS_BYTES as u64 + words + wide * size_of::<u64>() as u64
}

/// Bytes of what ranks exchange through, by the most that `--all-reduce auto` takes; 0 for one rank.
pub(super) fn exchange(stage: &Stage) -> u64 {
    match stage.ask.split.tp {
        1 => 0,
        _ => (scratch::inbox(CHANNEL_BYTES) + PIECE_BYTES) as u64,
    }
}
