//! The releases, each as what it changed of the one before. Changes are placed by their pull request's date where
//! the release itself was not looked up: one may be off by a release, and those marked as inferred rest on a log.

use super::{Hybrid, LargeCards, Latent, Outside, Release, Sampler, SecondRunner};

/// V0 measures how much less memory is free after the trial run. Its own share is by difference: fit2-174, fit2-025.
const V0: Release = Release {
    since: [0, 0, 0],
    month: [2023, 6],
    v1: false,
    chunk_tokens: None,
    large_cards: LargeCards::None,
    max_num_seqs: 256,
    falls_back_to_f16: false,
    outside: Outside {
        own_gib: 0.25,
        counts_nccl: true,
        all_reduce_workspace: false,
    },
    counts_reserved: true,
    keeps_workspaces: false,
    sampler: Sampler::Sort,
    second_runner: SecondRunner::Never,
    second_runner_tries_all: false,
    reserves_graphs: [false, false],
    utilization: 0.9,
    latent: Latent::Unpacked,
    fills_values: true,
    hybrid: Hybrid::Full,
    few_more: 1.0,
    steps_under_way: 1,
    recurrent_pages: 1,
};
/// Weights in FP8 are widened in the kernel where the card has no FP8 (vllm#5975).
const V0_5_1: Release = Release {
    since: [0, 5, 1],
    month: [2024, 7],
    ..V0
};
/// Prompts are chunked unasked, 512 tokens at a time, where contexts are longer than 32,768.
const V0_5_3: Release = Release {
    since: [0, 5, 3],
    month: [2024, 7],
    chunk_tokens: Some(512),
    ..V0_5_1
};
/// The same of compressed-tensors.
const V0_6_0: Release = Release {
    since: [0, 6, 0],
    month: [2024, 9],
    ..V0_5_3
};
/// PyTorch's own peak, and all that the process holds beside it: 0.35 (fit-03, fit-35), 0.39 (fit2-170).
const V0_6_4: Release = Release {
    since: [0, 6, 4],
    month: [2024, 11],
    outside: Outside {
        own_gib: 0.37,
        ..V0.outside
    },
    counts_reserved: false,
    ..V0_6_0
};
/// vllm#10544: chunks of 2,048 tokens. Only what was added counts: 0.26 (fit2-151), 0.33 (fit2-004).
const V0_6_5: Release = Release {
    since: [0, 6, 5],
    month: [2024, 12],
    chunk_tokens: Some(2048),
    outside: Outside {
        own_gib: 0.29,
        ..V0.outside
    },
    ..V0_6_4
};
/// 0.08 (fit-25), 0.06 (fit2-007), 0.04 (fit2-014), 0.03 (fit2-035).
const V0_7: Release = Release {
    since: [0, 7, 0],
    month: [2025, 1],
    outside: Outside {
        own_gib: 0.06,
        ..V0.outside
    },
    ..V0_6_5
};
/// Latents are kept, and their matrices multiplied beforehand (`process_weights_after_loading`).
const V0_7_1: Release = Release {
    since: [0, 7, 1],
    month: [2025, 2],
    latent: Latent::Absorbed,
    ..V0_7
};
/// Development builds on the way to 0.8, and the older engine in 0.8 and 0.9: no products and no lines any more (inferred:
/// vllm#14447 logs 21.21 GiB of DeepSeek-R1 on each of 16 cards, which has no room for them).
pub(super) const V0_7_4: Release = Release {
    since: [0, 7, 4],
    month: [2025, 3],
    latent: Latent::Kept,
    ..V0_7_1
};
/// V1 becomes the default engine. It counts the CUDA context of the process: 0.74 for two ranks on H20.
pub(super) const V0_8_0: Release = Release {
    since: [0, 8, 0],
    month: [2025, 3],
    v1: true,
    large_cards: LargeCards::Hopper,
    max_num_seqs: 1024,
    outside: Outside {
        own_gib: 0.74,
        ..V0.outside
    },
    ..V0_7_4
};
/// vllm#16158: back to 256 sequences but on H100 and H200.
const V0_8_4: Release = Release {
    since: [0, 8, 4],
    month: [2025, 4],
    max_num_seqs: 256,
    ..V0_8_0
};
/// Large is who has 70 GiB (seen in a source between 0.8.4 and vllm#17885; the patch is inferred).
const V0_8_5: Release = Release {
    since: [0, 8, 5],
    month: [2025, 4],
    large_cards: LargeCards::From70Gib,
    ..V0_8_4
};
/// vllm#17885: the A100 is not large. A bf16 checkpoint falls back to f16 where there is no bf16 (the
/// release of that is inferred: the worker of spring 2025 still refuses).
const V0_9_0: Release = Release {
    since: [0, 9, 0],
    month: [2025, 5],
    large_cards: LargeCards::From70GibButA100,
    falls_back_to_f16: true,
    ..V0_8_5
};
/// Memory outside of PyTorch is measured against a snapshot at start-up (inferred: 0.74 GiB in a log of
/// May 2025, 0.21 in fit-08 of 0.10.2). Layers that keep a window share the pool.
pub(super) const V0_9_1: Release = Release {
    since: [0, 9, 1],
    month: [2025, 6],
    outside: Outside {
        own_gib: 0.21,
        ..V0.outside
    },
    hybrid: Hybrid::Padded,
    ..V0_9_0
};
/// The snapshot is taken once NCCL is there. 0.13: fit2-126, fit2-127, fit2-128.
const V0_11: Release = Release {
    since: [0, 11, 0],
    month: [2025, 10],
    outside: Outside {
        own_gib: 0.13,
        counts_nccl: false,
        all_reduce_workspace: false,
    },
    ..V0_9_1
};
/// Layers of two kinds that differ little in number are filled up.
const V0_12: Release = Release {
    since: [0, 12, 0],
    month: [2025, 12],
    few_more: 1.25,
    ..V0_11
};
/// Less is asked of a card for some weights, here and in 0.16 (`quantised.rs`).
const V0_14: Release = Release {
    since: [0, 14, 0],
    month: [2026, 1],
    ..V0_12
};
const V0_16: Release = Release {
    since: [0, 16, 0],
    month: [2026, 2],
    ..V0_14
};
/// vllm#33538: top-k and top-p without sorting. Experts' buffers lie in a workspace that stays (the release of that
/// is inferred: it is there in 0.19).
const V0_17: Release = Release {
    since: [0, 17, 0],
    month: [2026, 3],
    sampler: Sampler::Threshold,
    keeps_workspaces: true,
    ..V0_16
};
/// 0.25 alone (fit2-073, fit2-129); FlashInfer's all-reduce, whose workspace the logs of 0.19 initialise (the release
/// of that is inferred).
const V0_18: Release = Release {
    since: [0, 18, 0],
    month: [2026, 3],
    outside: Outside {
        own_gib: 0.25,
        counts_nccl: false,
        all_reduce_workspace: true,
    },
    few_more: 1.5,
    ..V0_17
};
/// vllm#40045: K and V of different widths are kept as they are.
const V0_20: Release = Release {
    since: [0, 20, 0],
    month: [2026, 4],
    fills_values: false,
    ..V0_18
};
/// vllm#38284: graphs are in the budget, and 0.92 of the memory makes up for it.
const V0_21: Release = Release {
    since: [0, 21, 0],
    month: [2026, 5],
    reserves_graphs: [true, false],
    utilization: 0.92,
    hybrid: Hybrid::ByConcurrency,
    ..V0_20
};
/// vllm#44443: the second runner for dense models; it reserves nothing for graphs (vllm#49224).
const V0_25: Release = Release {
    since: [0, 25, 0],
    month: [2026, 7],
    second_runner: SecondRunner::Dense,
    ..V0_21
};
/// A step is prepared while the one before it runs.
const V0_27: Release = Release {
    since: [0, 27, 0],
    month: [2026, 8],
    steps_under_way: 2,
    ..V0_25
};
/// More tokens on the largest cards; recurrent models keep prefixes.
const V0_28: Release = Release {
    since: [0, 28, 0],
    month: [2026, 8],
    large_cards: LargeCards::AndFrom160Gib,
    recurrent_pages: 2,
    ..V0_27
};
/// The second runner for all models, and it measures graphs too (release notes).
const V0_29: Release = Release {
    since: [0, 29, 0],
    month: [2026, 9],
    second_runner: SecondRunner::Always,
    reserves_graphs: [true, true],
    ..V0_28
};
/// The second runner's trial run has all steps of the sampler (seen in the source of 0.33; fit-10 agrees).
const V0_31: Release = Release {
    since: [0, 31, 0],
    month: [2026, 10],
    second_runner_tries_all: true,
    ..V0_29
};

/// In order.
pub(super) const RELEASES: [&Release; 27] = [
    &V0, &V0_5_1, &V0_5_3, &V0_6_0, &V0_6_4, &V0_6_5, &V0_7, &V0_7_1, &V0_7_4, &V0_8_0, &V0_8_4,
    &V0_8_5, &V0_9_0, &V0_9_1, &V0_11, &V0_12, &V0_14, &V0_16, &V0_17, &V0_18, &V0_20, &V0_21,
    &V0_25, &V0_27, &V0_28, &V0_29, &V0_31,
];
