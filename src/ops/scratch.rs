//! What a GPU holds beside weights, activations and the KV cache: room for what kernels tell each other, whose size is
//! known before it is allocated. Kernels allocate by this page, and whoever asks whether a model fits counts by it.

/// cuBLASLt's: what NVIDIA recommends for Hopper, and more than older cards ask for.
pub const BLAS_BYTES: usize = 32 << 20;

/// Words of a pick as kernels read it: see `Pick` in kernels/logits.cuh.
pub const PICK_WORDS: usize = 6;
/// Parts of a step's description.
pub const SECTIONS: usize = 8;

/// Rows that the first record of answers has room for: steps of the usual `--max-num-seqs`.
const RECORD_ROWS: usize = 256;
/// Words of such a record behind its keys.
pub const RECORD_TAIL: usize = 1;

/// Columns of logits that one block reduces, as `RUN` of kernels/logits.cuh.
pub const RUN: usize = 4096;

/// Head dims that attention has kernels for; others are padded with zeros to the next one.
pub const HEAD_DIMS: [usize; 5] = [64, 80, 96, 128, 256];
/// Query rows of one block of decode attention, as `TILE_ROWS` of its kernels.
pub const TILE_ROWS: usize = 16;
/// Blocks of decode that registers leave room for on a multiprocessor.
pub const DECODE_BLOCKS: usize = 3;
/// Of blocks that share contexts.
pub const MOST_WAVES: usize = 4;

/// Words of one tile of an expert's rows: see kernels/group.cu.
pub const TILE_WORDS: usize = 4;
/// Rows of a short and of a tall one.
pub const EXPERT_ROWS: [usize; 2] = [8, 64];

/// A layer in blocks of e4m3 is widened for as many rows as this and more, on GPUs of this major capability.
pub const WIDENED_ROWS: usize = 256;
pub const WIDENED_MAJOR: u32 = 9;

/// Of ranks that exchange, as in kernels/exchange.cuh.
pub const MOST_RANKS: usize = 16;
pub const CHANNELS: usize = 16;
/// Meetings of a message.
pub const STAGES: usize = 2;
/// Messages of one channel lie in turns in two.
pub const HALVES: usize = 2;
/// Of the slots of all senders to one channel, together.
pub const CHANNEL_BYTES: usize = 256 << 10;
pub const FLAG_BYTES: usize = STAGES * CHANNELS * MOST_RANKS * size_of::<u32>();
/// Of a message that copies bring, at a time: room for so much lies on each GPU.
pub const PIECE_BYTES: usize = 4 << 20;

/// 32-bit words of a step's tokens, positions, slots, query offsets, context lengths, logit rows, their picks and block
/// tables of `max_blocks` each.
pub fn step(
    rows: usize,
    sequences: usize,
    logit_rows: usize,
    max_blocks: usize,
) -> [usize; SECTIONS] {
    [
        rows,
        rows,
        rows,
        sequences + 1,
        sequences,
        logit_rows,
        logit_rows * PICK_WORDS,
        sequences * max_blocks,
    ]
}

/// 64-bit words of the answers of a step of `rows` of them.
pub fn record(rows: usize) -> usize {
    rows.max(RECORD_ROWS).next_power_of_two() + RECORD_TAIL
}

/// The dims that kernels have for heads of `head_dim`, if there are any.
pub fn padded(head_dim: usize) -> Option<usize> {
    HEAD_DIMS.into_iter().find(|&dim| dim >= head_dim)
}

/// 32-bit words of what blocks of attention leave for the last of those that share a context: sums, one for each
/// dimension of a head with its padding, two units of each sum, and how many blocks have come.
pub fn attention(
    multiprocessors: usize,
    heads_per_kv_head: usize,
    padded_head_dim: usize,
) -> [usize; 3] {
    let blocks = MOST_WAVES * DECODE_BLOCKS * multiprocessors;
    let parts = blocks * heads_per_kv_head.min(TILE_ROWS);
    [parts * padded_head_dim, parts * 2, blocks]
}

/// Short and tall tiles of `choices` rows over `held` experts, at most: a tall one is full, or has more rows than a short
/// one, and an expert has one that is not full.
pub fn expert_tiles(choices: usize, held: usize, [short, tall]: [usize; 2]) -> [usize; 2] {
    let shorts = if short > 0 { choices.min(held) } else { 0 };
    [shorts, (choices / (short + 1)).min(choices / tall + held)]
}

/// Bytes of one rank's inbox, in host memory or in its own, with slots of `channel_bytes` a channel.
pub fn inbox(channel_bytes: usize) -> usize {
    FLAG_BYTES + CHANNELS * HALVES * STAGES * channel_bytes
}
